/**
 * ICMP echoes: whether an address answers, and how soon. A raw socket, because unprivileged ones want a sysctl of the
 * machine (`ping_group_range`) that keeps even root out by default.
 */
import { randomBytes } from 'node:crypto';
import type { KoffiFunc } from 'koffi';
import { formatAddress, type Address } from '../model/address.ts';
import { addressFamily } from './address-family.ts';
import { check, closeFile, libc } from './libc.ts';
import { keep, memory } from './memory.ts';
import { Poll } from './poll.ts';
import { createSocket, NONBLOCK, setSocketOption, socketAddress } from './socket.ts';

const sendto = libc.func(
  'long sendto(int fd, const void *data, size_t size, int flags, const void *address, uint32 length)',
) as KoffiFunc<(fd: number, data: Buffer, size: number, flags: number, address: Buffer, length: number) => number>;
const recv = libc.func('long recv(int fd, void *data, size_t size, int flags)') as KoffiFunc<
  (fd: number, data: bigint, size: number, flags: number) => number
>;

/** Numbers of ICMP and ICMPv6 (RFC 792, RFC 4443), and the option that keeps other types away (linux/icmp.h, icmpv6.h). */
const ICMP = {
  4: { protocol: 1, request: 8, reply: 0, filter: { level: 255, name: 1, bytes: 4 } },
  6: { protocol: 58, request: 128, reply: 129, filter: { level: 58, name: 1, bytes: 32 } },
} as const;
const HEADER_BYTES = 8;
const NONCE_BYTES = 8;
/** Datagrams that are read a turn: others may ping through this host, too. */
const BATCH = 64;

/** An echo that waits for its answer. */
interface Asked {
  readonly sent: bigint;
  readonly answer: (nanoseconds: number | undefined) => void;
}

/** Asks addresses of one family for echoes. */
export class EchoSocket implements Disposable {
  readonly #family: 4 | 6;
  readonly #fd: number;
  readonly #poll: Poll;
  readonly #buffer = memory(2048);
  readonly #id = randomBytes(2).readUInt16BE();
  /** By the random bytes that each carries. */
  readonly #asked = new Map<string, Asked>();
  #sequence = 0;

  /** @throws KernelError SYSCALL_FAILED */
  constructor(family: 4 | 6) {
    this.#family = family;
    const { protocol, reply, filter } = ICMP[family];
    this.#fd = createSocket(addressFamily(family), 'raw', undefined, NONBLOCK, protocol);
    try {
      // A set bit keeps a type away; words of 32 bits.
      const types = Buffer.alloc(filter.bytes, 0xff);
      const word = (reply >> 5) * 4;
      types.writeInt32LE(types.readInt32LE(word) & ~(1 << (reply & 31)), word);
      setSocketOption(this.#fd, filter.level, filter.name, types);
      this.#poll = Poll.readable(this.#fd, () => this.#drain());
    } catch (error) {
      closeFile(this.#fd);
      throw error;
    }
  }

  /**
   * Asks once.
   *
   * @returns nanoseconds until the answer; undefined when none came in time
   * @throws KernelError SYSCALL_FAILED when the kernel sends nothing, such as without a route
   */
  async ask(address: Address, timeoutMs: number): Promise<number | undefined> {
    const nonce = randomBytes(NONCE_BYTES);
    const key = nonce.toString('hex');
    const { promise, resolve } = Promise.withResolvers<number | undefined>();
    const timer = setTimeout(() => resolve(undefined), timeoutMs).unref();
    try {
      const message = this.#request(nonce);
      const to = socketAddress(address, 0);
      this.#asked.set(key, { sent: process.hrtime.bigint(), answer: resolve });
      check(`ping ${formatAddress(address)}`, sendto(this.#fd, message, message.length, 0, to, to.length));
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#asked.delete(key);
    }
  }

  [Symbol.dispose](): void {
    this.#poll.close();
    closeFile(this.#fd);
    for (const { answer } of this.#asked.values()) answer(undefined);
  }

  #request(nonce: Buffer): Buffer {
    const message = Buffer.alloc(HEADER_BYTES + NONCE_BYTES);
    message[0] = ICMP[this.#family].request;
    message.writeUInt16BE(this.#id, 4);
    message.writeUInt16BE((this.#sequence = (this.#sequence + 1) & 0xffff), 6);
    nonce.copy(message, HEADER_BYTES);
    // The kernel fills in that of ICMPv6.
    if (this.#family === 4) message.writeUInt16BE(checksum(message), 2);
    return message;
  }

  #drain(): void {
    for (let turn = 0; turn < BATCH; turn++) {
      const size = recv(this.#fd, this.#buffer.address, this.#buffer.bytes.length, 0);
      // Nothing more, or an error about an earlier packet: who waits for that one will find out.
      if (size < 0) return;
      keep(this.#buffer);
      this.#take(this.#buffer.bytes.subarray(0, size));
    }
  }

  #take(datagram: Buffer): void {
    // Raw IPv4 sockets get the IP header as well.
    const at = this.#family === 4 ? (datagram[0]! & 0x0f) * 4 : 0;
    if (datagram.length < at + HEADER_BYTES + NONCE_BYTES || datagram[at] !== ICMP[this.#family].reply) return;
    if (datagram.readUInt16BE(at + 4) !== this.#id) return;
    const asked = this.#asked.get(datagram.toString('hex', at + HEADER_BYTES, at + HEADER_BYTES + NONCE_BYTES));
    asked?.answer(Number(process.hrtime.bigint() - asked.sent));
  }
}

/** The Internet checksum (RFC 1071) of an even number of bytes. */
function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += bytes.readUInt16BE(i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
