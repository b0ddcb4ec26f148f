/** DNS over TCP: each message has its length before it, in two bytes (RFC 1035 §4.2.2, RFC 7766 §8). */
import { HEADER_BYTES, MAX_MESSAGE_BYTES } from './constants.ts';

/** Message and length in one piece, so that they leave in one segment. `message` has at most 65,535 bytes. */
export function frame(message: Uint8Array): Uint8Array {
  if (message.length > MAX_MESSAGE_BYTES) throw new RangeError(`a DNS message has at most ${MAX_MESSAGE_BYTES} bytes`);
  const framed = new Uint8Array(2 + message.length);
  framed[0] = message.length >> 8;
  framed[1] = message.length & 0xff;
  framed.set(message, 2);
  return framed;
}

/** Cuts a stream into messages, however it is cut itself. It holds no more than the one message that is incomplete. */
export class FrameSplitter {
  /** First byte of a length whose second is still to come. */
  #highByte: number | undefined;
  #message: Uint8Array | undefined;
  #filled = 0;
  #broken = false;

  /** Whether the stream said a length that no message has: the connection is of no more use. */
  get broken(): boolean {
    return this.#broken;
  }

  /** Whether the stream stands between two messages, where it may end. */
  get idle(): boolean {
    return this.#message === undefined && this.#highByte === undefined;
  }

  /**
   * Takes the next bytes of the stream and calls `take` for each message that they complete. A message lies in `chunk`
   * itself when it came whole: who keeps it copies it.
   */
  push(chunk: Uint8Array, take: (message: Uint8Array) => void): void {
    for (let at = 0; at < chunk.length && !this.#broken;) {
      if (this.#message !== undefined) at = this.#fill(this.#message, chunk, at, take);
      else if (this.#highByte === undefined) this.#highByte = chunk[at++]!;
      else at = this.#begin((this.#highByte << 8) | chunk[at]!, chunk, at + 1, take);
    }
  }

  /** The length is known: a message that is all here needs no copy. */
  #begin(length: number, chunk: Uint8Array, at: number, take: (message: Uint8Array) => void): number {
    this.#highByte = undefined;
    if (length < HEADER_BYTES) {
      this.#broken = true;
      return chunk.length;
    }
    if (chunk.length - at >= length) {
      take(chunk.subarray(at, at + length));
      return at + length;
    }
    this.#message = new Uint8Array(length);
    this.#filled = 0;
    return at;
  }

  #fill(message: Uint8Array, chunk: Uint8Array, at: number, take: (message: Uint8Array) => void): number {
    const part = chunk.subarray(at, at + message.length - this.#filled);
    message.set(part, this.#filled);
    this.#filled += part.length;
    if (this.#filled === message.length) {
      this.#message = undefined;
      take(message);
    }
    return at + part.length;
  }
}
