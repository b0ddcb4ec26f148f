import { WeirError } from './errors.ts';

/** An IP address: 4 or 16 bytes in network order, immutable by convention. */
export interface Address {
  readonly family: 4 | 6;
  readonly bytes: Uint8Array;
}

/** A prefix in canonical form: the bits past `length` are zero. */
export interface Cidr {
  readonly address: Address;
  /** Prefix length in bits: 0 to 32 or 0 to 128. */
  readonly length: number;
}

/**
 * Parses an IPv4 or IPv6 address in any textual form of RFC 4291 §2.2 (no zone).
 *
 * @throws WeirError ADDRESS_INVALID
 */
export function parseAddress(text: string): Address {
  const parsed = text.includes(':') ? parse6(text) : parse4(text);
  if (parsed === undefined) throw new WeirError('ADDRESS_INVALID', `${JSON.stringify(text)} is not an IP address`);
  return { family: parsed.length === 4 ? 4 : 6, bytes: parsed };
}

/**
 * Parses `address/length`; host bits are cleared, as Kubernetes does. A bare address is a full-length prefix.
 *
 * @throws WeirError ADDRESS_INVALID
 */
export function parseCidr(text: string): Cidr {
  const slash = text.indexOf('/');
  const address = parseAddress(slash < 0 ? text : text.slice(0, slash));
  const bits = address.bytes.length * 8;
  if (slash < 0) return { address, length: bits };
  const tail = text.slice(slash + 1);
  const length = Number(tail);
  if (!/^(0|[1-9]\d{0,2})$/.test(tail) || length > bits) {
    throw new WeirError('ADDRESS_INVALID', `${JSON.stringify(text)} is not a prefix: its length must be 0 to ${bits}`);
  }
  return { address: maskAddress(address, length), length };
}

/** `address` with the bits past `length` cleared. */
export function maskAddress(address: Address, length: number): Address {
  const bytes = Uint8Array.from(address.bytes, (byte, i) => {
    const kept = Math.min(8, Math.max(0, length - i * 8));
    return byte & (0xff << (8 - kept));
  });
  return { family: address.family, bytes };
}

/** The shortest text: dotted quads, or RFC 5952. */
export function formatAddress({ bytes }: Address): string {
  if (bytes.length === 4) return bytes.join('.');
  // The longest run of two zero groups or more, the first of several.
  let [start, length] = [-1, 1];
  for (let at = 0; at < 8; at++) {
    let end = at;
    while (end < 8 && groupOf(bytes, end) === 0) end++;
    if (end - at > length) [start, length] = [at, end - at];
    at = end;
  }
  // An IPv4-mapped address keeps its dotted tail, as inet_ntop prints it.
  if (start === 0 && length === 5 && groupOf(bytes, 5) === 0xffff) return `::ffff:${bytes.subarray(12).join('.')}`;
  let text = '';
  for (let at = 0; at < 8; at++) {
    if (at === start) {
      text += '::';
      at += length - 1;
    } else text += `${at === 0 || at === start + length ? '' : ':'}${groupOf(bytes, at).toString(16)}`;
  }
  return text;
}

function groupOf(bytes: Uint8Array, index: number): number {
  return (bytes[2 * index]! << 8) | bytes[2 * index + 1]!;
}

export function formatCidr(cidr: Cidr): string {
  return `${formatAddress(cidr.address)}/${cidr.length}`;
}

/** The prefix that covers this address alone. */
export function fullPrefix(address: Address): Cidr {
  return { address, length: address.bytes.length * 8 };
}

/** Whether `cidr` covers `address`; never across families. */
export function cidrContains(cidr: Cidr, address: Address): boolean {
  if (cidr.address.family !== address.family) return false;
  return maskAddress(address, cidr.length).bytes.every((byte, i) => byte === cidr.address.bytes[i]);
}

/** Whether `outer` covers every address of `inner`. */
export function cidrCovers(outer: Cidr, inner: Cidr): boolean {
  return outer.length <= inner.length && cidrContains(outer, inner.address);
}

/** Whether it is 0.0.0.0 or ::. */
export function isUnspecified({ bytes }: Address): boolean {
  return bytes.every((byte) => byte === 0);
}

export function addressEquals(a: Address, b: Address): boolean {
  return a.family === b.family && a.bytes.every((byte, i) => byte === b.bytes[i]);
}

/**
 * A text that is equal for equal prefixes, and only for them: short, in one piece, for tables with a row for every pod of a
 * cluster. Bits of `bytes` past `length` do not count.
 */
export function prefixKey(bytes: Uint8Array, length: number): string {
  const codes = bytes.length === 4 ? KEY_4 : KEY_6;
  codes[1] = length;
  const whole = length >> 3;
  for (let i = 0; i < bytes.length; i++) {
    codes[i + 2] = i < whole ? bytes[i]! : i === whole ? bytes[i]! & (0xff00 >> (length & 7)) & 0xff : 0;
  }
  return String.fromCharCode(...codes);
}

/** Where {@link prefixKey} puts a key together: family, length, bytes. */
const [KEY_4, KEY_6] = [
  [4, 0, ...new Array<number>(4).fill(0)],
  [6, 0, ...new Array<number>(16).fill(0)],
];

/** The prefix of a {@link prefixKey}. */
export function prefixOfKey(key: string): Cidr {
  const family = key.charCodeAt(0) === 4 ? 4 : 6;
  const bytes = new Uint8Array(family === 4 ? 4 : 16);
  for (let i = 0; i < bytes.length; i++) bytes[i] = key.charCodeAt(i + 2);
  return { address: { family, bytes }, length: key.charCodeAt(1) };
}

function parse4(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(4);
  let [at, value, digits] = [0, 0, 0];
  for (let i = 0; i <= text.length; i++) {
    const code = i < text.length ? text.charCodeAt(i) : DOT;
    if (code === DOT) {
      if (digits === 0 || at > 3) return undefined;
      bytes[at++] = value;
      value = digits = 0;
    } else {
      // Zeros in front are octal to some readers and decimal to others.
      if (code < 0x30 || code > 0x39 || (digits > 0 && value === 0)) return undefined;
      value = value * 10 + (code - 0x30);
      digits++;
      if (value > 255) return undefined;
    }
  }
  return at === 4 ? bytes : undefined;
}

const DOT = 0x2e;

function parse6(text: string): Uint8Array | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const head = groups6(halves[0]!, halves.length === 1);
  const tail = halves.length === 2 ? groups6(halves[1]!, true) : [];
  if (head === undefined || tail === undefined) return undefined;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) return undefined;
  const groups = [...head, ...new Array<number>(missing).fill(0), ...tail];
  return Uint8Array.from(groups.flatMap((g) => [g >> 8, g & 0xff]));
}

/** Groups of one side of `::`; a dotted quad may stand at the very end of the address only. */
function groups6(text: string, last: boolean): number[] | undefined {
  if (text === '') return [];
  const out: number[] = [];
  const parts = text.split(':');
  for (const [i, part] of parts.entries()) {
    if (last && i === parts.length - 1 && part.includes('.')) {
      const quad = parse4(part);
      if (quad === undefined) return undefined;
      out.push((quad[0]! << 8) | quad[1]!, (quad[2]! << 8) | quad[3]!);
    } else if (/^[0-9a-fA-F]{1,4}$/.test(part)) out.push(parseInt(part, 16));
    else return undefined;
  }
  return out;
}
