/** Plain sockets for tests of what programs do to socket calls: every call is made in place, and waits half a minute at most. */
import type { KoffiFunc } from 'koffi';
import { type Address, formatAddress } from '../model/address.ts';
import { addressFamily, familyOf } from './address-family.ts';
import { check, closeFile, libc } from './libc.ts';
import type { Netns } from './netns.ts';
import { bindSocket, createSocket, setSocketOption, SOL_SOCKET, socketAddress } from './socket.ts';

type AddressCall = KoffiFunc<(fd: number, address: Buffer, size: number) => number>;
type NameCall = KoffiFunc<(fd: number, address: Buffer, size: Buffer) => number>;
const connect = libc.func('int connect(int fd, const void *address, uint32 size)') as AddressCall;
const listen = libc.func('int listen(int fd, int backlog)') as KoffiFunc<(fd: number, backlog: number) => number>;
const getpeername = libc.func('int getpeername(int fd, void *address, void *size)') as NameCall;
const sendto = libc.func(
  'long sendto(int fd, const void *data, size_t length, int flags, const void *address, uint32 size)',
) as KoffiFunc<(fd: number, data: Buffer, length: number, flags: number, address: Buffer, size: number) => number>;
const recvfrom = libc.func(
  'long recvfrom(int fd, void *data, size_t length, int flags, void *address, void *size)',
) as KoffiFunc<(fd: number, data: Buffer, length: number, flags: number, address: Buffer, size: Buffer) => number>;

const [SO_RCVTIMEO, SO_SNDTIMEO] = [20, 21];
const PATIENCE_SECONDS = 30;

/** The other end of a call: `address:port`, `[address]:port`, or the latter with an IPv4 address mapped into IPv6. */
export interface SocketEnd {
  readonly address: Address;
  readonly port: number;
}

/** A blocking socket, closed when disposed. */
export class TestSocket implements Disposable {
  readonly #fd: number;

  /** @param family of the socket, which an IPv6 address of its peers may map */
  constructor(protocol: 'tcp' | 'udp', family: 4 | 6, netns: Netns) {
    this.#fd = createSocket(addressFamily(family), protocol === 'tcp' ? 'stream' : 'datagram', netns.fd);
    const timeout = Buffer.alloc(16);
    timeout.writeBigInt64LE(BigInt(PATIENCE_SECONDS));
    for (const option of [SO_RCVTIMEO, SO_SNDTIMEO]) setSocketOption(this.#fd, SOL_SOCKET, option, timeout);
  }

  bind(end: SocketEnd): this {
    bindSocket(this.#fd, end, 'a test’s');
    return this;
  }

  listen(): this {
    check('listen', listen(this.#fd, 16));
    return this;
  }

  /** @throws KernelError SYSCALL_FAILED */
  connect({ address, port }: SocketEnd): this {
    const where = socketAddress(address, port);
    check(`connect to ${formatAddress(address)} port ${port}`, connect(this.#fd, where, where.length));
    return this;
  }

  /** Whom the kernel says that it is connected to. */
  peer(): string {
    const [address, size] = addressBuffers();
    check('ask for the peer of a socket', getpeername(this.#fd, address, size));
    return endText(address);
  }

  /** @throws KernelError SYSCALL_FAILED */
  send(text: string, { address, port }: SocketEnd): void {
    const [data, where] = [Buffer.from(text), socketAddress(address, port)];
    const sent = sendto(this.#fd, data, data.length, 0, where, where.length);
    check(`send to ${formatAddress(address)} port ${port}`, sent);
  }

  /** The next datagram, and from whom the kernel says that it is. @throws KernelError SYSCALL_FAILED, EAGAIN when none comes */
  receive(): { readonly text: string; readonly from: string } {
    const data = Buffer.alloc(1500);
    const [address, size] = addressBuffers();
    const length = check('receive', recvfrom(this.#fd, data, data.length, 0, address, size));
    return { text: data.toString('utf8', 0, length), from: endText(address) };
  }

  [Symbol.dispose](): void {
    closeFile(this.#fd);
  }
}

function addressBuffers(): [Buffer, Buffer] {
  const size = Buffer.alloc(4);
  size.writeUInt32LE(28);
  return [Buffer.alloc(28), size];
}

/** struct sockaddr_in or sockaddr_in6 as `address port`. */
function endText(bytes: Buffer): string {
  const family = familyOf(bytes.readUInt16LE(0))!;
  const address = family === 4 ? bytes.subarray(4, 8) : bytes.subarray(8, 24);
  return `${formatAddress({ family, bytes: Uint8Array.from(address) })} ${bytes.readUInt16BE(2)}`;
}
