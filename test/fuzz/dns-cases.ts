/** DNS messages by seed: well formed ones with all that a codec must understand, and damaged ones. */
import type { Random } from './random.ts';

export interface Record {
  readonly owner: string;
  readonly type: number;
  readonly class: number;
  readonly ttl: number;
  /** Bytes, or a name that is compressed like any other. */
  readonly data: Uint8Array | string;
}

export interface Case {
  readonly id: number;
  readonly flags: number;
  readonly questions: readonly { readonly name: string; readonly type: number; readonly class: number }[];
  readonly sections: readonly [readonly Record[], readonly Record[], readonly Record[]];
}

/** Writes a message; names are of plain labels, which are compressed wherever an earlier name allows it. */
export function encodeCase(message: Case, compress: boolean): Uint8Array {
  const out: number[] = [];
  const known = new Map<string, number>();
  const u16 = (n: number): unknown => out.push((n >>> 8) & 0xff, n & 0xff);
  const u32 = (n: number): unknown => out.push(n >>> 24, (n >>> 16) & 0xff, (n >>> 8) & 0xff, n & 0xff);
  const name = (text: string): void => {
    let rest = text;
    while (rest !== '.' && rest !== '') {
      const place = known.get(rest);
      if (compress && place !== undefined) {
        u16(0xc000 | place);
        return;
      }
      if (out.length < 0x3fff) known.set(rest, out.length);
      const dot = rest.indexOf('.');
      out.push(dot, ...Buffer.from(rest.slice(0, dot), 'latin1'));
      rest = rest.slice(dot + 1);
    }
    out.push(0);
  };
  for (const word of [message.id, message.flags, message.questions.length]) u16(word);
  for (const section of message.sections) u16(section.length);
  for (const question of message.questions) {
    name(question.name);
    u16(question.type);
    u16(question.class);
  }
  for (const record of message.sections.flat()) {
    name(record.owner);
    u16(record.type);
    u16(record.class);
    u32(record.ttl);
    const length = out.length;
    u16(0);
    if (typeof record.data === 'string') name(record.data);
    else out.push(...record.data);
    const size = out.length - length - 2;
    out[length] = size >> 8;
    out[length + 1] = size & 0xff;
  }
  return Uint8Array.from(out);
}

const LABELS = ['www', 'a', 'B', 'example', 'com', 'Cilium', 'io', 'x-y_z', '1', 'a"b', '\u00e9'] as const;
const TYPES = [1, 28, 5, 1, 28, 16, 255, 65] as const;

function someName(random: Random): string {
  return `${random.list(1, 3, () => random.pick(LABELS)).join('.')}.`;
}

function bytes(random: Random, count: number): Uint8Array {
  return Uint8Array.from({ length: count }, () => random.below(256));
}

/** A response as servers send them, and as servers that lie do: chains, loops, strangers, other classes and types. */
export function responseCase(random: Random): Case {
  const names = random.list(2, 5, () => someName(random));
  const record = (): Record => {
    const type = random.pick(TYPES);
    const size = type === 1 ? 4 : type === 28 ? 16 : random.below(20);
    const data = type === 5 ? random.pick(names) : bytes(random, random.chance(0.02) ? size + 1 : size);
    const ttl = random.chance(0.05) ? 0x80000000 + random.below(9) : random.below(600);
    return { owner: random.pick(names), type, class: random.chance(0.05) ? 3 : 1, ttl, data };
  };
  return {
    id: random.below(65536),
    flags: 0x8180 | (random.chance(0.1) ? random.below(16) : 0) | (random.chance(0.1) ? 0x200 : 0),
    questions: [{ name: names[0]!, type: random.pick([1, 1, 28, 255, 16]), class: random.chance(0.03) ? 3 : 1 }],
    sections: [random.list(0, 7, record), random.list(0, 1, record), random.list(0, 2, record)],
  };
}

export function queryCase(random: Random): Case {
  const question = (): Case['questions'][number] => ({ name: someName(random), type: random.pick(TYPES), class: 1 });
  const opt: Record = {
    owner: '.',
    type: 41,
    class: 1232,
    ttl: random.chance(0.3) ? 0x8000 : 0,
    data: bytes(random, 4),
  };
  return {
    id: random.below(65536),
    flags: random.chance(0.9) ? 0x0100 : random.below(65536),
    questions: random.list(1, random.chance(0.05) ? 3 : 1, question),
    sections: [[], random.chance(0.03) ? [opt] : [], random.chance(0.6) ? [opt] : random.chance(0.1) ? [opt, opt] : []],
  };
}

/** One to four wounds: bits, words, pointers, cuts, insertions. */
export function damage(random: Random, message: Uint8Array): Uint8Array {
  let found = Array.from(message);
  for (let left = 1 + random.below(4); left > 0 && found.length > 0; left--) {
    const at = random.below(found.length);
    const kind = random.below(6);
    if (kind === 0) found[at]! ^= 1 << random.below(8);
    else if (kind === 1) found[at] = random.pick([0, 1, 0x3f, 0x40, 0xc0, 0xff]);
    else if (kind === 2) found.splice(at, 2, 0xc0, random.below(random.chance(0.5) ? 256 : found.length));
    else if (kind === 3) found = found.slice(0, at);
    else if (kind === 4) found.splice(at, random.below(4));
    else found.splice(at, 0, ...bytes(random, 1 + random.below(4)));
  }
  return Uint8Array.from(found);
}
