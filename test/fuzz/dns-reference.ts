/**
 * What a response teaches, read a second time: slowly, plainly, with exceptions, from the RFCs alone. The codec that is
 * tested shares no code with it.
 */
export interface ReferenceLesson {
  readonly name: string;
  readonly ttl: number;
  /** Addresses in hexadecimal. */
  readonly addresses: readonly string[];
}

export type Reading = 'no-response' | 'malformed' | 'nothing' | ReferenceLesson;

interface Answer {
  readonly owner: string;
  readonly type: number;
  readonly ttl: number;
  readonly hex: string;
  readonly target: string | undefined;
}

export function referenceReading(message: Uint8Array): Reading {
  const view = Buffer.from(message);
  if (view.length < 12 || (view[2]! & 0xf8) !== 0x80 || view.readUInt16BE(4) !== 1) return 'no-response';
  let question;
  try {
    const [name, at] = nameAt(view, 12);
    question = { name, type: view.readUInt16BE(at), class: view.readUInt16BE(at + 2), end: at + 4 };
  } catch {
    return 'no-response';
  }
  if ((view[3]! & 0xf) !== 0 || question.class !== 1 || ![1, 28, 255].includes(question.type)) return 'nothing';
  try {
    return lesson(question.name, answersAt(view, question.end, question.type));
  } catch {
    return 'malformed';
  }
}

function answersAt(view: Buffer, begin: number, wanted: number): readonly Answer[] {
  const answers: Answer[] = [];
  let at = begin;
  for (let left = view.readUInt16BE(6); left > 0; left--) {
    const [owner, head] = nameAt(view, at);
    const [type, klass, ttl, size] = [
      view.readUInt16BE(head),
      view.readUInt16BE(head + 2),
      view.readInt32BE(head + 4),
      view.readUInt16BE(head + 8),
    ];
    const data = head + 10;
    at = data + size;
    if (at > view.length) throw new Error('data past the end');
    if (klass !== 1) continue;
    const right = wanted === 255 || wanted === type;
    if ((type === 1 || type === 28) && right && size !== (type === 1 ? 4 : 16)) throw new Error('size of an address');
    if (type !== 5 && !((type === 1 || type === 28) && right)) continue;
    let target;
    if (type === 5) {
      const [name, end] = nameAt(view, data);
      if (end !== at) throw new Error('CNAME longer or shorter than its data');
      target = name;
    }
    answers.push({ owner, type, ttl: Math.max(0, ttl), hex: view.toString('hex', data, at), target });
  }
  return answers;
}

function lesson(name: string, answers: readonly Answer[]): Reading {
  const chain = new Set([name]);
  for (let before = 0; before < chain.size;) {
    before = chain.size;
    for (const { owner, target } of answers) if (target !== undefined && chain.has(owner)) chain.add(target);
  }
  const mine = answers.filter(({ owner }) => chain.has(owner));
  const addresses = mine.filter(({ target }) => target === undefined);
  if (addresses.length === 0) return 'nothing';
  return { name, ttl: Math.min(...mine.map(({ ttl }) => ttl)), addresses: addresses.map(({ hex }) => hex) };
}

/** Text of the name at `at`, each byte that is not plain as `\DDD`, and where the next field begins. */
function nameAt(view: Buffer, at: number): [text: string, next: number] {
  const labels: string[] = [];
  let next = -1;
  let lowest = at;
  let total = 1;
  for (let here = at; ;) {
    const size = view.readUInt8(here);
    if (size >= 0xc0) {
      const target = view.readUInt16BE(here) & 0x3fff;
      if (next < 0) next = here + 2;
      if (target >= lowest || target < 12) throw new Error('pointer forwards');
      here = lowest = target;
      continue;
    }
    total += size + 1;
    if (size >= 0x40 || total > 255 || here + 1 + size > view.length) throw new Error('label');
    if (size === 0) return [labels.length === 0 ? '.' : `${labels.join('.')}.`, next < 0 ? here + 1 : next];
    labels.push(labelText(view.subarray(here + 1, here + 1 + size)));
    here += size + 1;
  }
}

function labelText(label: Buffer): string {
  return Array.from(label, (byte) => {
    const character = String.fromCharCode(byte);
    if (character === '.' || character === '\\') return `\\${character}`;
    if (byte <= 32 || byte >= 127) return `\\${String(byte).padStart(3, '0')}`;
    return character >= 'A' && character <= 'Z' ? character.toLowerCase() : character;
  }).join('');
}
