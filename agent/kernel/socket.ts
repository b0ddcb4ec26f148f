/**
 * Sockets that Node cannot make by itself: in another network namespace, transparent, marked. They are descriptors to
 * hand to Node (`dgram` `bind({ fd })`, `net` `listen({ fd })`), which owns them from then on.
 */
import type { KoffiFunc } from 'koffi';
import { type Address, formatAddress } from '../model/address.ts';
import { addressFamily } from './address-family.ts';
import { check, closeFile, libc } from './libc.ts';
import { inNetns, type Netns } from './netns.ts';

const socket = libc.func('int socket(int domain, int type, int protocol)') as KoffiFunc<
  (domain: number, type: number, protocol: number) => number
>;
const setsockopt = libc.func(
  'int setsockopt(int fd, int level, int name, const void *value, uint32 size)',
) as KoffiFunc<(fd: number, level: number, name: number, value: Buffer, size: number) => number>;
const bind = libc.func('int bind(int fd, const void *address, uint32 size)') as KoffiFunc<
  (fd: number, address: Buffer, size: number) => number
>;

const SOCK = { stream: 1, datagram: 2, raw: 3, NONBLOCK: 0o4000, CLOEXEC: 0o2000000 } as const;

export const SOL_SOCKET = 1;
const SO = { REUSEADDR: 2, REUSEPORT: 15, SNDBUFFORCE: 32, RCVBUFFORCE: 33, MARK: 36 } as const;
/** Options of the IP level, by family (linux/in.h, linux/in6.h). */
const IP = {
  4: { level: 0, transparent: 19, originalDestination: 20 },
  6: { level: 41, transparent: 75, originalDestination: 74 },
} as const;
const IPV6_V6ONLY = 26;

/** socket(2), close-on-exec, in the namespace of `netnsFd` if given. @throws KernelError SYSCALL_FAILED */
export function createSocket(domain: number, type: 'stream' | 'datagram' | 'raw', netnsFd?: number, flags = 0): number {
  const create = (): number => check(`open a ${type} socket`, socket(domain, SOCK[type] | SOCK.CLOEXEC | flags, 0));
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

/** What a TCP or UDP socket is to be like. */
export interface SocketSpec {
  readonly protocol: 'tcp' | 'udp';
  /** Address and port to bind; the family follows from it. Port 0 leaves the choice to the kernel. */
  readonly bind: { readonly address: Address; readonly port: number };
  /** May bind to, and answer from, addresses that are not this host's (IP_TRANSPARENT). */
  readonly transparent?: boolean;
  /** The mark of all it sends (SO_MARK), for routing rules and BPF programs. */
  readonly mark?: number;
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
    const where = socketAddress(address, port);
    check(`bind ${spec.protocol} ${formatAddress(address)} port ${port}`, bind(fd, where, where.length));
    return fd;
  } catch (error) {
    closeFile(fd);
    throw error;
  }
}

function setOptions(fd: number, spec: SocketSpec): void {
  const { family } = spec.bind.address;
  const ip = IP[family];
  setSocketOption(fd, SOL_SOCKET, SO.REUSEADDR, 1);
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
