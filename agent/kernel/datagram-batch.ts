/**
 * Datagrams by the batch: recvmmsg(2) and sendmmsg(2), for proxies that a datagram event each would cost too much. A
 * batch is used for receiving or for sending, and again and again; its messages lie in {@link DatagramBatch.bytes}.
 */
import type { KoffiFunc } from 'koffi';
import type { Address } from '../model/address.ts';
import { errno, libc } from './libc.ts';
import { KernelError } from './errno.ts';
import { memory, type Memory } from './memory.ts';
import { socketAddress } from './socket.ts';

const recvmmsg = libc.func(
  'int recvmmsg(int fd, uint64 messages, uint32 count, int flags, uint64 timeout)',
) as KoffiFunc<(fd: number, messages: bigint, count: number, flags: number, timeout: number) => number>;
const sendmmsg = libc.func('int sendmmsg(int fd, uint64 messages, uint32 count, int flags)') as KoffiFunc<
  (fd: number, messages: bigint, count: number, flags: number) => number
>;

/** struct mmsghdr and what it points to, by message: sizes and offsets on 64-bit Linux. */
const HEADER = { bytes: 64, nameBytes: 8, control: 32, controlBytes: 40, flags: 48, length: 56 } as const;
const VECTOR_BYTES = 16;
/** Room for a struct sockaddr_in6, and for one control message with one. */
const NAME_BYTES = 32;
const CONTROL_BYTES = 64;
const MSG = { TRUNC: 0x20, DONTWAIT: 0x40 } as const;
const AF_INET = 2;
const [EINTR, EAGAIN] = [4, 11];
/** Level and type of the control message with the original destination, by family (linux/in.h, linux/in6.h). */
const ORIGINAL_DESTINATION = { 4: [0, 20], 6: [41, 74] } as const;

/** An address with its port, in host order. */
export interface DatagramPeer {
  readonly address: Address;
  readonly port: number;
}

export class DatagramBatch {
  /** All messages, {@link room} bytes each: what is received stands there until the next {@link receive}. */
  readonly bytes: Buffer;
  readonly capacity: number;
  /** Bytes of a message at most. */
  readonly room: number;
  readonly #headers: Memory;
  readonly #vectors: Memory;
  readonly #names: Memory;
  readonly #control: Memory;
  #count = 0;
  /** Messages whose structures are to be made ready before they can receive. */
  #stale: number;

  constructor(capacity: number, room: number) {
    this.capacity = capacity;
    this.room = room;
    this.#stale = capacity;
    const data = memory(capacity * room);
    this.bytes = data.bytes;
    this.#headers = memory(capacity * HEADER.bytes);
    this.#vectors = memory(capacity * VECTOR_BYTES);
    this.#names = memory(capacity * NAME_BYTES);
    this.#control = memory(capacity * CONTROL_BYTES);
    for (let i = 0; i < capacity; i++) this.#point(i, data);
  }

  /** Messages in the batch. */
  get count(): number {
    return this.#count;
  }

  /**
   * Takes what has arrived, up to the capacity, without waiting; gives the number of messages.
   *
   * @throws KernelError SYSCALL_FAILED
   */
  receive(fd: number): number {
    // What the call before did not touch is as it was.
    for (let i = 0; i < this.#stale; i++) {
      const at = i * HEADER.bytes;
      this.#headers.bytes.writeUInt32LE(NAME_BYTES, at + HEADER.nameBytes);
      this.#headers.bytes.writeBigUInt64LE(this.#control.address + BigInt(i * CONTROL_BYTES), at + HEADER.control);
      this.#headers.bytes.writeBigUInt64LE(BigInt(CONTROL_BYTES), at + HEADER.controlBytes);
      this.#vectors.bytes.writeBigUInt64LE(BigInt(this.room), i * VECTOR_BYTES + 8);
    }
    const received = recvmmsg(fd, this.#headers.address, this.capacity, MSG.DONTWAIT, 0);
    this.#count = this.#stale = Math.max(0, received);
    if (received >= 0) return received;
    const error = errno();
    if (error === EAGAIN || error === EINTR) return 0;
    throw new KernelError('SYSCALL_FAILED', 'receive datagrams', error);
  }

  /** Where message `i` begins in {@link bytes}. */
  start(i: number): number {
    return i * this.room;
  }

  /** Its length as received. */
  length(i: number): number {
    return this.#headers.bytes.readUInt32LE(i * HEADER.bytes + HEADER.length);
  }

  /** Whether it was longer than {@link room}, and lost its end. */
  truncated(i: number): boolean {
    return (this.#headers.bytes.readUInt32LE(i * HEADER.bytes + HEADER.flags) & MSG.TRUNC) !== 0;
  }

  source(i: number): DatagramPeer {
    return readPeer(this.#names.bytes, i * NAME_BYTES);
  }

  /** Where it was sent to before it was diverted; undefined unless the socket has `originalDestination`. */
  originalDestination(i: number): DatagramPeer | undefined {
    const control = this.#control.bytes;
    const at = i * CONTROL_BYTES;
    if (this.#headers.bytes.readBigUInt64LE(i * HEADER.bytes + HEADER.controlBytes) < 32n) return undefined;
    const [level, type] = [control.readInt32LE(at + 8), control.readInt32LE(at + 12)];
    const found = Object.values(ORIGINAL_DESTINATION).some(([l, t]) => l === level && t === type);
    return found ? readPeer(control, at + 16) : undefined;
  }

  /** Adds a message to send; false when the batch is full. `message` has at most {@link room} bytes. */
  add(message: Uint8Array, to: DatagramPeer): boolean {
    if (message.length > this.room) throw new RangeError(`a message of this batch has at most ${this.room} bytes`);
    if (this.#count === this.capacity) return false;
    const i = this.#count++;
    this.#stale = Math.max(this.#stale, this.#count);
    this.bytes.set(message, i * this.room);
    const name = socketAddress(to.address, to.port);
    this.#names.bytes.set(name, i * NAME_BYTES);
    const at = i * HEADER.bytes;
    this.#headers.bytes.writeUInt32LE(name.length, at + HEADER.nameBytes);
    this.#headers.bytes.fill(0, at + HEADER.control, at + HEADER.controlBytes + 8);
    this.#vectors.bytes.writeBigUInt64LE(BigInt(message.length), i * VECTOR_BYTES + 8);
    return true;
  }

  /**
   * Sends what was added, without waiting, and empties the batch. A message that the kernel refuses, or has no room for,
   * is dropped as the network drops datagrams; gives how many were.
   */
  send(fd: number): number {
    let dropped = 0;
    for (let next = 0; next < this.#count;) {
      const from = this.#headers.address + BigInt(next * HEADER.bytes);
      const sent = sendmmsg(fd, from, this.#count - next, MSG.DONTWAIT);
      if (sent > 0) next += sent;
      // An error is always about the first: those before it were counted as sent by the call before.
      else if (sent === 0 || errno() !== EINTR) {
        dropped++;
        next++;
      }
    }
    this.#count = 0;
    return dropped;
  }

  /** Ties the structures of message `i` together, once and for all. */
  #point(i: number, data: Memory): void {
    const at = i * HEADER.bytes;
    this.#headers.bytes.writeBigUInt64LE(this.#names.address + BigInt(i * NAME_BYTES), at);
    this.#headers.bytes.writeBigUInt64LE(this.#vectors.address + BigInt(i * VECTOR_BYTES), at + 16);
    this.#headers.bytes.writeBigUInt64LE(1n, at + 24);
    this.#vectors.bytes.writeBigUInt64LE(data.address + BigInt(i * this.room), i * VECTOR_BYTES);
  }
}

/** struct sockaddr_in or sockaddr_in6; the address is copied. */
function readPeer(bytes: Buffer, at: number): DatagramPeer {
  const port = bytes.readUInt16BE(at + 2);
  if (bytes.readUInt16LE(at) === AF_INET) {
    return { address: { family: 4, bytes: copyBytes(bytes, at + 4, 4) }, port };
  }
  return { address: { family: 6, bytes: copyBytes(bytes, at + 8, 16) }, port };
}

/** So few bytes are copied faster one by one. */
function copyBytes(from: Uint8Array, at: number, length: number): Uint8Array {
  const copy = new Uint8Array(length);
  for (let i = 0; i < length; i++) copy[i] = from[at + i]!;
  return copy;
}
