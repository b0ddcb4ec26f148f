/**
 * A netlink socket of our own, opened inside the right network namespace and then good for any thread. The kernel handles
 * a request while it is being sent, so the answer is there when `send` returns: synchronous calls do not wait for it.
 */
import type { KoffiFunc } from 'koffi';
import { WeirError } from '../model/errors.ts';
import { ERRNO, KernelError } from './errno.ts';
import { callAsync, closeFile, errno, libc } from './libc.ts';
import { keep, memory, readCString } from './memory.ts';
import { createSocket, setSocketOption, SOL_SOCKET } from './socket.ts';

const send = libc.func('long send(int fd, const void *data, size_t size, int flags)') as KoffiFunc<
  (fd: number, data: bigint, size: number, flags: number) => number
>;
const recv = libc.func('long recv(int fd, void *data, size_t size, int flags)') as KoffiFunc<
  (fd: number, data: bigint, size: number, flags: number) => number
>;

const AF_NETLINK = 16;
const SO_RCVTIMEO = 20;
const SO_RCVBUFFORCE = 33;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;

/** Flags of a request (linux/netlink.h). */
export const NLM_F = {
  REQUEST: 1,
  ACK: 4,
  DUMP: 0x300,
  REPLACE: 0x100,
  EXCL: 0x200,
  CREATE: 0x400,
  APPEND: 0x800,
} as const;
const NLM_F_DUMP_INTR = 0x10;
const NLM_F_CAPPED = 0x100;
const NLM_F_ACK_TLVS = 0x200;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLMSGERR_ATTR_MSG = 1;
const HEADER = 16;

/** Messages a send: their answers must fit the socket's receive buffer. */
const BATCH = 64;

/** One message to the kernel. */
export interface NetlinkRequest {
  /** RTM_* */
  readonly type: number;
  /** NLM_F_*, besides REQUEST and ACK. */
  readonly flags: number;
  readonly body: Uint8Array;
  /** What it does, for errors: `create veth wr1a2b3c`. */
  readonly operation: string;
}

/** The kernel refused a request; its own words, when it gave any, are in the message. */
export class NetlinkError extends KernelError {
  override readonly name: string = 'NetlinkError';
  /** The kernel's extended acknowledgement, such as `Nexthop has invalid gateway`. */
  readonly kernelMessage: string | undefined;

  constructor(operation: string, errno: number, kernelMessage?: string) {
    const words = kernelMessage === undefined ? '' : ` (the kernel says: ${kernelMessage})`;
    super('NETLINK_FAILED', `${operation}${words}`, errno);
    this.kernelMessage = kernelMessage;
  }
}

/** What came back for one request. */
interface Answer {
  readonly bodies: Buffer[];
  error: NetlinkError | undefined;
  done: boolean;
  /** The dumped objects changed meanwhile. */
  interrupted: boolean;
}

/** How often a dump is repeated when the objects change under it. */
const DUMP_ATTEMPTS = 5;

export class NetlinkSocket implements Disposable {
  readonly #fd: number;
  readonly #buffer = memory(1 << 16);
  readonly #waiting = new Map<number, { readonly operation: string; readonly answer: Answer }>();
  #sequence = 1;
  #open = true;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /** An rtnetlink socket in the namespace of `netnsFd`, or in the process's own. @throws KernelError SYSCALL_FAILED */
  static open(netnsFd?: number): NetlinkSocket {
    const fd = createSocket(AF_NETLINK, 'raw', netnsFd);
    try {
      for (const option of [NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK]) {
        setSocketOption(fd, SOL_NETLINK, option, 1);
      }
      setSocketOption(fd, SOL_SOCKET, SO_RCVBUFFORCE, 1 << 20);
      // Nothing should ever wait that long; a hang of the agent would be the worst answer.
      setSocketOption(fd, SOL_SOCKET, SO_RCVTIMEO, timeval(5));
    } catch (error) {
      closeFile(fd);
      throw error;
    }
    return new NetlinkSocket(fd);
  }

  /**
   * Sends requests together and waits for the kernel in place. One that fails does not stop those after it.
   *
   * @returns the bodies of the replies to each
   * @throws NetlinkError NETLINK_FAILED: the first failure
   */
  send(requests: readonly NetlinkRequest[]): Buffer[][] {
    const answers: Answer[] = [];
    for (let at = 0; at < requests.length; at += BATCH) {
      const batch = this.#encode(requests.slice(at, at + BATCH));
      const sent = send(this.#fd, batch.data.address, batch.data.bytes.length, 0);
      if (sent < 0) throw this.#abandon(batch.sequences, requests[at]!.operation, errno());
      keep(batch.data);
      answers.push(...this.#receive(batch.sequences));
    }
    return unwrap(answers);
  }

  /** As {@link send}, with the kernel's work, such as the 21 ms of deleting a veth, on a worker thread. */
  async sendAsync(requests: readonly NetlinkRequest[]): Promise<Buffer[][]> {
    const answers: Answer[] = [];
    for (let at = 0; at < requests.length; at += BATCH) {
      const batch = this.#encode(requests.slice(at, at + BATCH));
      const sent = await callAsync(send, this.#fd, batch.data.address, batch.data.bytes.length, 0);
      if (sent.result < 0) throw this.#abandon(batch.sequences, requests[at]!.operation, sent.errno);
      keep(batch.data);
      answers.push(...this.#receive(batch.sequences));
    }
    return unwrap(answers);
  }

  /** Reads a whole table; again when it changed meanwhile. @throws NetlinkError NETLINK_FAILED */
  dump(request: NetlinkRequest): Buffer[] {
    for (let attempt = 1; ; attempt++) {
      const batch = this.#encode([request], NLM_F.DUMP);
      const sent = send(this.#fd, batch.data.address, batch.data.bytes.length, 0);
      if (sent < 0) throw this.#abandon(batch.sequences, request.operation, errno());
      keep(batch.data);
      const [answer] = this.#receive(batch.sequences) as [Answer];
      if (answer.error !== undefined) throw answer.error;
      if (!answer.interrupted || attempt === DUMP_ATTEMPTS) return answer.bodies;
    }
  }

  close(): void {
    if (this.#open) closeFile(this.#fd);
    this.#open = false;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #encode(requests: readonly NetlinkRequest[], extra = 0): { data: ReturnType<typeof memory>; sequences: number[] } {
    if (!this.#open) throw new WeirError('INTERNAL', 'the netlink socket is closed');
    const data = memory(requests.reduce((size, { body }) => size + HEADER + align(body.length), 0));
    const sequences = [];
    let at = 0;
    for (const { type, flags, body, operation } of requests) {
      const sequence = this.#sequence++;
      data.bytes.writeUInt32LE(HEADER + body.length, at);
      data.bytes.writeUInt16LE(type, at + 4);
      data.bytes.writeUInt16LE(flags | extra | NLM_F.REQUEST | NLM_F.ACK, at + 6);
      data.bytes.writeUInt32LE(sequence, at + 8);
      data.bytes.set(body, at + HEADER);
      at += HEADER + align(body.length);
      sequences.push(sequence);
      this.#waiting.set(sequence, {
        operation,
        answer: { bodies: [], error: undefined, done: false, interrupted: false },
      });
    }
    return { data, sequences };
  }

  /** Reads until `sequences` are answered; answers to calls in flight on other threads are kept for them. */
  #receive(sequences: readonly number[]): Answer[] {
    const answers = sequences.map((sequence) => this.#waiting.get(sequence)!);
    while (answers.some(({ answer }) => !answer.done)) {
      const size = recv(this.#fd, this.#buffer.address, this.#buffer.bytes.length, 0);
      if (size < 0) {
        const number = errno();
        if (number === ERRNO.EINTR) continue;
        throw this.#abandon(sequences, answers[0]!.operation, number);
      }
      this.#parse(size);
    }
    for (const sequence of sequences) this.#waiting.delete(sequence);
    return answers.map(({ answer }) => answer);
  }

  #abandon(sequences: readonly number[], operation: string, number: number): NetlinkError {
    for (const sequence of sequences) this.#waiting.delete(sequence);
    return new NetlinkError(operation, number);
  }

  #parse(size: number): void {
    const b = this.#buffer.bytes;
    for (let at = 0; at + HEADER <= size;) {
      const length = b.readUInt32LE(at);
      const type = b.readUInt16LE(at + 4);
      const flags = b.readUInt16LE(at + 6);
      const waiting = this.#waiting.get(b.readUInt32LE(at + 8));
      if (waiting !== undefined) {
        const { answer, operation } = waiting;
        if ((flags & NLM_F_DUMP_INTR) !== 0) answer.interrupted = true;
        const body = b.subarray(at + HEADER, at + length);
        if (type === NLMSG_ERROR || type === NLMSG_DONE) {
          answer.done = true;
          answer.error ??= parseError(body, type, flags, operation);
        } else answer.bodies.push(Buffer.from(body));
      }
      at += align(length);
    }
  }
}

function unwrap(answers: readonly Answer[]): Buffer[][] {
  const failed = answers.find(({ error }) => error !== undefined);
  if (failed?.error !== undefined) throw failed.error;
  return answers.map(({ bodies }) => bodies);
}

/** struct nlmsgerr, or the error number that ends a dump; attributes follow both. Undefined for an acknowledgement. */
function parseError(body: Buffer, type: number, flags: number, operation: string): NetlinkError | undefined {
  const number = body.length < 4 ? 0 : -body.readInt32LE(0);
  if (number === 0) return undefined;
  if ((flags & NLM_F_ACK_TLVS) === 0) return new NetlinkError(operation, number);
  let start = 4;
  // After the number stands the request: its header alone when capped.
  if (type === NLMSG_ERROR) start += (flags & NLM_F_CAPPED) !== 0 ? HEADER : align(body.readUInt32LE(4));
  for (let at = start; at + 4 <= body.length;) {
    const length = body.readUInt16LE(at);
    if (length < 4) break;
    if ((body.readUInt16LE(at + 2) & 0x3fff) === NLMSGERR_ATTR_MSG) {
      return new NetlinkError(operation, number, readCString(body.subarray(at + 4, at + length)));
    }
    at += align(length);
  }
  return new NetlinkError(operation, number);
}

function align(size: number): number {
  return (size + 3) & ~3;
}

function timeval(seconds: number): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeBigInt64LE(BigInt(seconds));
  return bytes;
}
