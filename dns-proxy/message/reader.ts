/**
 * Reads a message in place. A read past the end, or of a name that is none, sets {@link WireReader.fault} and gives
 * zero or the root; every later read then does the same, so that callers look once, at the end. Nothing here throws.
 */
import { MAX_NAME_BYTES } from './constants.ts';
import { fault, type DnsFault, type FaultReason } from './fault.ts';
import { UNESCAPED } from './name.ts';

/** Names are put together here and copied out as text at once: no read leaves anything behind. */
const scratch = Buffer.alloc(4 * MAX_NAME_BYTES);

export class WireReader {
  readonly #bytes: Uint8Array;
  readonly #start: number;
  readonly #end: number;
  #at: number;
  #fault: DnsFault | undefined;

  /** Of the message in `bytes` from `start` up to `end`. */
  constructor(bytes: Uint8Array, start = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.#start = start;
    this.#end = Math.min(end, bytes.length);
    this.#at = start;
  }

  get fault(): DnsFault | undefined {
    return this.#fault;
  }

  /** The next byte to read, counted from the message's beginning. */
  get offset(): number {
    return this.#at - this.#start;
  }

  get atEnd(): boolean {
    return this.#at === this.#end;
  }

  u16(): number {
    const at = this.#take(2);
    return at < 0 ? 0 : (this.#bytes[at]! << 8) | this.#bytes[at + 1]!;
  }

  u32(): number {
    const at = this.#take(4);
    if (at < 0) return 0;
    const bytes = this.#bytes;
    return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
  }

  skip(count: number): void {
    this.#take(count);
  }

  /** A copy of the next `count` bytes; empty after a fault. */
  copy(count: number): Uint8Array {
    const at = this.#take(count);
    return at < 0 ? new Uint8Array() : this.#bytes.slice(at, at + count);
  }

  /** Whether the next two bytes are a pointer to `offset`; moves past them if so. */
  skipPointerTo(offset: number): boolean {
    const at = this.#at;
    if (this.#fault !== undefined || at + 2 > this.#end) return false;
    if (((this.#bytes[at]! << 8) | this.#bytes[at + 1]!) !== (0xc000 | offset)) return false;
    this.#at += 2;
    return true;
  }

  /** Sets the fault unless one is set already. */
  fail(reason: FaultReason, offset = this.offset): void {
    this.#fault ??= fault(reason, offset);
  }

  /** A name in canonical form (see `name.ts`). */
  name(): string {
    return this.#walkName(true);
  }

  /** Moves past a name and checks it, without making its text. */
  skipName(): void {
    this.#walkName(false);
  }

  /**
   * Follows labels and pointers. A pointer must lead to before the piece of name it ends: they can only go down, so no
   * name loops, and none is longer than 255 bytes.
   */
  #walkName(wanted: boolean): string {
    if (this.#fault !== undefined) return '.';
    const begin = this.offset;
    let at = this.#at;
    let piece = at;
    let resume = -1;
    let wire = 1;
    let length = 0;
    for (;;) {
      if (at >= this.#end) return this.#badName('short', begin);
      const size = this.#bytes[at]!;
      if (size === 0) break;
      if (size >= 0xc0) {
        if (at + 1 >= this.#end) return this.#badName('short', begin);
        const target = this.#start + (((size & 0x3f) << 8) | this.#bytes[at + 1]!);
        if (resume < 0) resume = at + 2;
        if (target >= piece || target < this.#start + 12) return this.#badName('name', begin);
        at = target;
        piece = target;
        continue;
      }
      wire += size + 1;
      if (size >= 0x40 || wire > MAX_NAME_BYTES) return this.#badName('name', begin);
      if (at + 1 + size > this.#end) return this.#badName('short', begin);
      if (wanted) length = this.#putLabel(at + 1, size, length);
      at += size + 1;
    }
    this.#at = resume < 0 ? at + 1 : resume;
    return length === 0 ? '.' : scratch.toString('latin1', 0, length);
  }

  #badName(reason: FaultReason, offset: number): string {
    this.fail(reason, offset);
    return '.';
  }

  /** Appends a label and its dot to the scratch bytes at `length`; gives the new length. */
  #putLabel(from: number, size: number, length: number): number {
    const bytes = this.#bytes;
    let to = length;
    for (let at = from; at < from + size; at++) {
      const byte = bytes[at]!;
      const plain = UNESCAPED[byte]!;
      if (plain !== 0) scratch[to++] = plain;
      else to = putEscaped(byte, to);
    }
    scratch[to++] = 0x2e;
    return to;
  }

  /** Where the next `count` bytes begin in the array, or -1 with a fault set. */
  #take(count: number): number {
    if (this.#fault !== undefined) return -1;
    const at = this.#at;
    if (at + count > this.#end) {
      this.fail('short');
      return -1;
    }
    this.#at = at + count;
    return at;
  }
}

/** `\.` and `\\` for the two characters with a meaning, `\DDD` for what cannot be printed. */
function putEscaped(byte: number, at: number): number {
  let to = at;
  scratch[to++] = 0x5c;
  if (byte > 0x20 && byte < 0x7f) {
    scratch[to++] = byte;
    return to;
  }
  scratch[to++] = 0x30 + Math.floor(byte / 100);
  scratch[to++] = 0x30 + (Math.floor(byte / 10) % 10);
  scratch[to++] = 0x30 + (byte % 10);
  return to;
}
