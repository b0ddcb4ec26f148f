/**
 * UDP datagrams from any address and any port, by the batch: the answers of a proxy, which come from the servers that were asked.
 *
 * A transparent socket bound to each server's address and port would do the same, and take the queries of this node's own
 * resolvers with it where the server runs on this node. A raw socket binds no port.
 */
import type { KoffiFunc } from 'koffi';
import { parseAddress } from '../model/address.ts';
import { addressFamily } from './address-family.ts';
import type { DatagramPeer } from './datagram-batch.ts';
import { closeFile, errno, libc } from './libc.ts';
import { keep, memory } from './memory.ts';
import type { Netns } from './netns.ts';
import { bindSocket, createSocket, IP, NONBLOCK, setSocketOption, SO, SOL_SOCKET, socketAddress } from './socket.ts';

const sendmmsg = libc.func('int sendmmsg(int fd, uint64 messages, uint32 count, int flags)') as KoffiFunc<
  (fd: number, messages: bigint, count: number, flags: number) => number
>;

const IPPROTO_UDP = 17;
const UDP_HEADER_BYTES = 8;
const UDP_CHECKSUM_OFFSET = 6;
/** IPV6_CHECKSUM: where the kernel is to put the checksum (linux/in6.h). */
const IPV6_CHECKSUM = 7;
const SO_ATTACH_FILTER = 26;
const [MSG_DONTWAIT, EINTR] = [0x40, 4];

/** struct mmsghdr, struct iovec, and what they point to: 64-bit Linux, in units of 4 bytes. */
const HEADER = { words: 16, nameLength: 2, controlLength: 10 } as const;
const VECTOR = { words: 4, base: 0, length: 2 } as const;
const NAME_BYTES = 32;
const CONTROL_BYTES = 64;
/** struct cmsghdr, then struct in_pktinfo or in6_pktinfo: level, type, length, and where the address stands. */
const PACKET_INFO = {
  4: { level: 0, type: 8, length: 28, space: 32, address: 20 },
  6: { level: 41, type: 50, length: 36, space: 40, address: 16 },
} as const;

export class RawDatagrams implements Disposable {
  readonly family: 4 | 6;
  readonly #fd: number;
  readonly #capacity: number;
  readonly #room: number;
  readonly #data;
  readonly #headers;
  readonly #headerWords: Uint32Array;
  readonly #vectors;
  readonly #vectorWords: Uint32Array;
  readonly #vectorBases: BigUint64Array;
  readonly #names;
  readonly #control;
  #count = 0;
  #filled = 0;
  #open = true;

  /**
   * @param mark of all that is sent
   * @param room bytes of all datagrams of a batch together, headers included
   * @throws KernelError SYSCALL_FAILED
   */
  constructor(
    family: 4 | 6,
    mark: number,
    { netns, capacity = 64, room = 256 * 1024 }: { netns?: Netns; capacity?: number; room?: number } = {},
  ) {
    this.family = family;
    this.#capacity = capacity;
    this.#room = room;
    this.#fd = openRaw(family, mark, netns);
    this.#data = memory(room);
    this.#headers = memory(capacity * HEADER.words * 4);
    this.#headerWords = new Uint32Array(this.#headers.bytes.buffer);
    this.#vectors = memory(capacity * VECTOR.words * 4);
    this.#vectorWords = new Uint32Array(this.#vectors.bytes.buffer);
    this.#vectorBases = new BigUint64Array(this.#vectors.bytes.buffer);
    this.#names = memory(capacity * NAME_BYTES);
    this.#control = memory(capacity * CONTROL_BYTES);
    for (let i = 0; i < capacity; i++) this.#point(i);
  }

  /** Adds a datagram, and sends those before it when there is no more room. Gives how many the kernel refused then. */
  add(message: Uint8Array, from: DatagramPeer, to: DatagramPeer): number {
    const bytes = UDP_HEADER_BYTES + message.length;
    const full = this.#count === this.#capacity || this.#filled + bytes > this.#room;
    const dropped = full ? this.flush() : 0;
    const i = this.#count++;
    const at = this.#filled;
    const data = this.#data.bytes;
    data[at] = from.port >> 8;
    data[at + 1] = from.port & 0xff;
    data[at + 2] = to.port >> 8;
    data[at + 3] = to.port & 0xff;
    data[at + 4] = bytes >> 8;
    data[at + 5] = bytes & 0xff;
    // No checksum in IPv4, where none is needed; in IPv6 the kernel fills it in.
    data[at + 6] = 0;
    data[at + 7] = 0;
    data.set(message, at + UDP_HEADER_BYTES);
    this.#vectorBases[i * 2] = this.#data.address + BigInt(at);
    this.#vectorWords[i * VECTOR.words + VECTOR.length] = bytes;
    this.#names.bytes.set(to.address.bytes, i * NAME_BYTES + (this.family === 4 ? 4 : 8));
    this.#control.bytes.set(from.address.bytes, i * CONTROL_BYTES + PACKET_INFO[this.family].address);
    this.#filled = at + ((bytes + 7) & ~7);
    return dropped;
  }

  /** Sends what was added. What the kernel refuses is lost, as datagrams are; gives how many were. */
  flush(): number {
    let dropped = 0;
    for (let next = 0; next < this.#count;) {
      const from = this.#headers.address + BigInt(next * HEADER.words * 4);
      const sent = sendmmsg(this.#fd, from, this.#count - next, MSG_DONTWAIT);
      if (sent > 0) next += sent;
      // An error is about the first: those before it were counted by the call before.
      else if (sent === 0 || errno() !== EINTR) {
        dropped++;
        next++;
      }
    }
    this.#count = 0;
    this.#filled = 0;
    return dropped;
  }

  close(): void {
    if (this.#open) closeFile(this.#fd);
    this.#open = false;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Ties the structures of datagram `i` together, once and for all. */
  #point(i: number): void {
    const { level, type, length, space } = PACKET_INFO[this.family];
    const header = i * HEADER.words * 4;
    const name = socketAddress({ family: this.family, bytes: new Uint8Array(this.family === 4 ? 4 : 16) }, 0);
    this.#names.bytes.set(name, i * NAME_BYTES);
    const { bytes } = this.#headers;
    bytes.writeBigUInt64LE(this.#names.address + BigInt(i * NAME_BYTES), header);
    this.#headerWords[i * HEADER.words + HEADER.nameLength] = name.length;
    bytes.writeBigUInt64LE(this.#vectors.address + BigInt(i * VECTOR.words * 4), header + 16);
    bytes.writeBigUInt64LE(1n, header + 24);
    bytes.writeBigUInt64LE(this.#control.address + BigInt(i * CONTROL_BYTES), header + 32);
    this.#headerWords[i * HEADER.words + HEADER.controlLength] = space;
    const control = i * CONTROL_BYTES;
    this.#control.bytes.writeBigUInt64LE(BigInt(length), control);
    this.#control.bytes.writeInt32LE(level, control + 8);
    this.#control.bytes.writeInt32LE(type, control + 12);
  }
}

function openRaw(family: 4 | 6, mark: number, netns: Netns | undefined): number {
  const fd = createSocket(addressFamily(family), 'raw', netns?.fd, NONBLOCK, IPPROTO_UDP);
  try {
    const ip = IP[family];
    setSocketOption(fd, ip.level, ip.transparent, 1);
    setSocketOption(fd, SOL_SOCKET, SO.MARK, mark);
    setSocketOption(fd, SOL_SOCKET, SO.SNDBUFFORCE, 4 * 1024 * 1024);
    if (family === 6) setSocketOption(fd, ip.level, IPV6_CHECKSUM, UDP_CHECKSUM_OFFSET);
    receiveNothing(fd);
    // A raw socket is shown all of the protocol's packets that are for its address: let that be as few as possible.
    bindSocket(fd, { address: parseAddress(family === 4 ? '127.0.0.1' : '::1'), port: 0 });
    return fd;
  } catch (error) {
    closeFile(fd);
    throw error;
  }
}

/** A filter of one instruction, "keep 0 bytes": struct sock_fprog with one struct sock_filter. */
function receiveNothing(fd: number): void {
  const filter = memory(8);
  filter.bytes.writeUInt16LE(0x06, 0);
  const program = Buffer.alloc(16);
  program.writeUInt16LE(1, 0);
  program.writeBigUInt64LE(filter.address, 8);
  setSocketOption(fd, SOL_SOCKET, SO_ATTACH_FILTER, program);
  keep(filter);
}
