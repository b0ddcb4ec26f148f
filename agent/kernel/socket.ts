/**
 * Sockets that Node cannot make by itself: in another network namespace, transparent, marked. They are descriptors to
 * hand to Node (`dgram` `bind({ fd })`, `net` `listen({ fd })`), which owns them from then on.
 */
import type { KoffiFunc } from 'koffi';
import { type Address, formatAddress } from '../model/address.ts';
import { addressFamily } from './address-family.ts';
import { KernelError } from './errno.ts';
import { check, closeFile, errno, libc } from './libc.ts';
import { inNetns, type Netns } from './netns.ts';
import { Poll } from './poll.ts';

const socket = libc.func('int socket(int domain, int type, int protocol)') as KoffiFunc<
  (domain: number, type: number, protocol: number) => number
>;
const setsockopt = libc.func(
  'int setsockopt(int fd, int level, int name, const void *value, uint32 size)',
) as KoffiFunc<(fd: number, level: number, name: number, value: Buffer, size: number) => number>;
const bind = libc.func('int bind(int fd, const void *address, uint32 size)') as KoffiFunc<
  (fd: number, address: Buffer, size: number) => number
>;

const connect = libc.func('int connect(int fd, const void *address, uint32 size)') as KoffiFunc<
  (fd: number, address: Buffer, size: number) => number
>;
const getsockopt = libc.func('int getsockopt(int fd, int level, int name, void *value, uint32 *size)') as KoffiFunc<
  (fd: number, level: number, name: number, value: Buffer, size: Buffer) => number
>;

const getsockname = libc.func('int getsockname(int fd, void *address, uint32 *size)') as KoffiFunc<
  (fd: number, address: Buffer, size: Buffer) => number
>;
const EINPROGRESS = 115;

const SOCK = { stream: 1, datagram: 2, raw: 3, NONBLOCK: 0o4000, CLOEXEC: 0o2000000 } as const;
/** A flag of {@link createSocket}: no call waits. */
export const NONBLOCK = SOCK.NONBLOCK;

export const SOL_SOCKET = 1;
export const SO = {
  REUSEADDR: 2,
  ERROR: 4,
  REUSEPORT: 15,
  SNDBUFFORCE: 32,
  RCVBUFFORCE: 33,
  MARK: 36,
  NETNS_COOKIE: 71,
} as const;
/** Options of the IP level, by family (linux/in.h, linux/in6.h). */
export const IP = {
  4: { level: 0, transparent: 19, originalDestination: 20 },
  6: { level: 41, transparent: 75, originalDestination: 74 },
} as const;
const IPV6_V6ONLY = 26;

/** socket(2), close-on-exec, in the namespace of `netnsFd` if given. @throws KernelError SYSCALL_FAILED */
export function createSocket(
  domain: number,
  type: 'stream' | 'datagram' | 'raw',
  netnsFd?: number,
  flags = 0,
  protocol = 0,
): number {
  const create = (): number =>
    check(`open a ${type} socket`, socket(domain, SOCK[type] | SOCK.CLOEXEC | flags, protocol));
  return netnsFd === undefined ? create() : inNetns(netnsFd, create);
}

/** setsockopt(2) with a number of 32 bits or with bytes. @throws KernelError SYSCALL_FAILED */
export function setSocketOption(fd: number, level: number, name: number, value: number | Buffer): void {
  let bytes = value;
  if (typeof bytes === 'number') {
    bytes = Buffer.alloc(4);
    bytes.writeInt32LE(Number(value) | 0);
  }
  check(`set option ${level}/${name} of a socket`, setsockopt(fd, level, name, bytes, bytes.length));
}

/**
 * The number by which BPF programs know a network namespace (SO_NETNS_COOKIE, Linux 5.14).
 *
 * @param netns the process's own when absent
 * @throws KernelError SYSCALL_FAILED
 */
export function netnsCookie(netns?: Netns): bigint {
  const fd = createSocket(addressFamily(4), 'datagram', netns?.fd);
  try {
    const [value, size] = [Buffer.alloc(8), Buffer.alloc(4)];
    size.writeUInt32LE(value.length);
    check('read the cookie of a network namespace', getsockopt(fd, SOL_SOCKET, SO.NETNS_COOKIE, value, size));
    return value.readBigUInt64LE();
  } finally {
    closeFile(fd);
  }
}

/** What a TCP or UDP socket is to be like. */
export interface SocketSpec {
  readonly protocol: 'tcp' | 'udp';
  /** Address and port to bind; the family follows from it. Port 0 leaves the choice to the kernel. */
  readonly bind: { readonly address: Address; readonly port: number };
  /** May bind to, and answer from, addresses that are not this host's (IP_TRANSPARENT). */
  readonly transparent?: boolean;
  /** The mark of all it sends (SO_MARK), for routing rules and BPF programs. */
  readonly mark?: number;
  /** Nobody else may bind the same address and port: without it, whoever also shares them may take a datagram socket's traffic. */
  readonly exclusive?: boolean;
  /** Several sockets may bind the same address and share its traffic. */
  readonly reusePort?: boolean;
  /** Tells with each datagram where it was sent to (IP_RECVORIGDSTADDR), for a proxy that reads with recvmsg. */
  readonly originalDestination?: boolean;
  /** Bytes of the kernel's buffers, beyond the system's limit if need be. */
  readonly receiveBuffer?: number;
  readonly sendBuffer?: number;
}

/**
 * A bound, non-blocking socket.
 *
 * @param netns where it lives, whoever reads it; the process's own when absent
 * @throws KernelError SYSCALL_FAILED; EADDRINUSE, EADDRNOTAVAIL name the address
 */
export function openSocket(spec: SocketSpec, netns?: Netns): number {
  const { address, port } = spec.bind;
  const type = spec.protocol === 'tcp' ? 'stream' : 'datagram';
  const fd = createSocket(addressFamily(address.family), type, netns?.fd, SOCK.NONBLOCK);
  try {
    setOptions(fd, spec);
    bindSocket(fd, { address, port }, spec.protocol);
    return fd;
  } catch (error) {
    closeFile(fd);
    throw error;
  }
}

/** bind(2). @param title of the socket, for the error @throws KernelError SYSCALL_FAILED */
export function bindSocket(
  fd: number,
  { address, port }: { readonly address: Address; readonly port: number },
  title = 'raw',
): void {
  const where = socketAddress(address, port);
  check(`bind ${title} ${formatAddress(address)} port ${port}`, bind(fd, where, where.length));
}

/** The port that a socket is bound to, in host order: the kernel's choice where {@link SocketSpec.bind} left it open. */
export function boundPort(fd: number): number {
  const where = Buffer.alloc(28);
  const size = Buffer.alloc(4);
  size.writeUInt32LE(where.length);
  check('ask for the address of a socket', getsockname(fd, where, size));
  return where.readUInt16BE(2);
}

/**
 * Connects a non-blocking TCP socket; resolves when the other side has accepted. The descriptor stays the caller's, also on
 * failure. `signal` ends the wait.
 *
 * @throws KernelError SYSCALL_FAILED: ECONNREFUSED, ETIMEDOUT … ; the signal's reason
 */
export async function connectSocket(
  fd: number,
  { address, port }: { readonly address: Address; readonly port: number },
  signal: AbortSignal,
): Promise<void> {
  const operation = `connect to ${formatAddress(address)} port ${port}`;
  const where = socketAddress(address, port);
  if (connect(fd, where, where.length) >= 0) return;
  const started = errno();
  if (started !== EINPROGRESS) throw new KernelError('SYSCALL_FAILED', operation, started);
  signal.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<true>();
  const abort = (): void => reject(signal.reason as Error);
  signal.addEventListener('abort', abort, { once: true });
  using _poll = Poll.writable(fd, () => resolve(true));
  try {
    await promise;
  } finally {
    signal.removeEventListener('abort', abort);
  }
  const failed = socketError(fd);
  if (failed !== 0) throw new KernelError('SYSCALL_FAILED', operation, failed);
}

/** Takes the error number that a socket has pending; 0 when there is none. */
function socketError(fd: number): number {
  const [value, size] = [Buffer.alloc(4), Buffer.alloc(4)];
  size.writeUInt32LE(4);
  check('ask a socket for its error', getsockopt(fd, SOL_SOCKET, SO.ERROR, value, size));
  return value.readInt32LE();
}

function setOptions(fd: number, spec: SocketSpec): void {
  const { family } = spec.bind.address;
  const ip = IP[family];
  if (spec.exclusive !== true) setSocketOption(fd, SOL_SOCKET, SO.REUSEADDR, 1);
  // An IPv6 socket that also took IPv4 would collide with the IPv4 socket beside it.
  if (family === 6) setSocketOption(fd, ip.level, IPV6_V6ONLY, 1);
  if (spec.reusePort === true) setSocketOption(fd, SOL_SOCKET, SO.REUSEPORT, 1);
  if (spec.transparent === true) setSocketOption(fd, ip.level, ip.transparent, 1);
  if (spec.originalDestination === true) setSocketOption(fd, ip.level, ip.originalDestination, 1);
  if (spec.mark !== undefined) setSocketOption(fd, SOL_SOCKET, SO.MARK, spec.mark);
  if (spec.receiveBuffer !== undefined) setSocketOption(fd, SOL_SOCKET, SO.RCVBUFFORCE, spec.receiveBuffer);
  if (spec.sendBuffer !== undefined) setSocketOption(fd, SOL_SOCKET, SO.SNDBUFFORCE, spec.sendBuffer);
}

/** struct sockaddr_in or sockaddr_in6: family in host order, port and address in network order. */
export function socketAddress(address: Address, port: number): Buffer {
  const bytes = Buffer.alloc(address.family === 4 ? 16 : 28);
  bytes.writeUInt16LE(addressFamily(address.family), 0);
  bytes.writeUInt16BE(port, 2);
  bytes.set(address.bytes, address.family === 4 ? 4 : 8);
  return bytes;
}
