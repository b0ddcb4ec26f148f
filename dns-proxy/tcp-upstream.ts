/** One pod's TCP connection, continued to the server that it was made to, as the pod's identity. */
import net from 'node:net';
import { closeFile } from '../agent/kernel/libc.ts';
import { connectSocket, openSocket } from '../agent/kernel/socket.ts';
import { parseAddress } from '../agent/model/address.ts';
import { TIMED_OUT, type Core, type Peer, type Pending } from './core.ts';
import { failure } from './decide.ts';
import { egressMark } from './marks.ts';
import { FrameSplitter } from './message/framing.ts';
import { freshId } from './query-ids.ts';

const ANY = { 4: parseAddress('0.0.0.0'), 6: parseAddress('::') } as const;

interface Asked {
  readonly pending: Pending;
  /** The query with its length, as it is sent. */
  readonly frame: Uint8Array;
}

export class TcpUpstream {
  readonly #core: Core;
  readonly #identity: number;
  readonly #server: Peer;
  readonly #asked = new Map<number, Asked>();
  readonly #ended = new AbortController();
  #splitter = new FrameSplitter();
  #socket: net.Socket | undefined;
  #connecting = false;

  constructor(core: Core, identity: number, server: Peer) {
    this.#core = core;
    this.#identity = identity;
    this.#server = server;
  }

  /** Queries without an answer. */
  get waiting(): number {
    return this.#asked.size;
  }

  /** Sends a query, over the connection that there is or a new one. */
  ask(pending: Pending, message: Uint8Array): void {
    const id = freshId(this.#asked);
    const frame = new Uint8Array(2 + message.length);
    frame.set([message.length >> 8, message.length & 0xff]);
    frame.set(message, 2);
    frame.set([id >> 8, id & 0xff], 2);
    this.#asked.set(id, { pending, frame });
    if (this.#socket !== undefined) this.#socket.write(frame);
    else if (!this.#connecting) this.#connect();
  }

  /** Gives up queries that have waited too long, and with them the connection. */
  tidy(): void {
    const oldest = performance.now() - this.#core.settings.upstreamTimeoutMs;
    for (const { pending } of this.#asked.values()) {
      if (pending.asked > oldest) return;
      this.#lose(TIMED_OUT);
      return;
    }
  }

  close(): void {
    this.#ended.abort(new Error('the client has gone'));
    this.#lose('the client has gone');
  }

  #connect(): void {
    this.#connecting = true;
    this.#open().then(
      (socket) => {
        this.#connecting = false;
        if (this.#ended.signal.aborted) {
          socket.destroy();
          return;
        }
        this.#socket = socket;
        for (const { frame } of this.#asked.values()) socket.write(frame);
      },
      () => {
        this.#connecting = false;
        this.#lose('the server refuses the connection');
      },
    );
  }

  async #open(): Promise<net.Socket> {
    const fd = openSocket({
      ...{ protocol: 'tcp', bind: { address: ANY[this.#server.address.family], port: 0 } },
      mark: egressMark(this.#identity),
    });
    try {
      const timeout = AbortSignal.timeout(this.#core.settings.upstreamTimeoutMs);
      await connectSocket(fd, this.#server, AbortSignal.any([timeout, this.#ended.signal]));
    } catch (error) {
      closeFile(fd);
      throw error;
    }
    const socket = new net.Socket({ fd, readable: true, writable: true });
    socket.setNoDelay(true);
    this.#splitter = new FrameSplitter();
    socket.on('data', (chunk) => this.#read(chunk));
    // What an error says, the close says as well.
    socket.on('error', () => undefined);
    socket.on('close', () => {
      if (this.#socket === socket) this.#lose('the server closed the connection');
    });
    return socket;
  }

  #read(chunk: Buffer): void {
    this.#splitter.push(chunk, (message) => this.#take(message));
    this.#core.flush();
    if (this.#splitter.broken) this.#lose('the server sent no DNS');
  }

  #take(message: Uint8Array): void {
    const id = (message[0]! << 8) | message[1]!;
    const asked = this.#asked.get(id);
    if (asked === undefined) {
      this.#core.counters.add('unsolicited');
      return;
    }
    const { pending } = asked;
    const decision = this.#core.judge(pending, id, message, 0, message.length);
    if (decision === undefined) return;
    this.#asked.delete(id);
    message[0] = pending.query.id >> 8;
    message[1] = pending.query.id & 0xff;
    this.#core.deliver(pending, message, decision);
  }

  /** The connection is over: what was asked will not be answered. */
  #lose(reason: string): void {
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.destroy();
    for (const [id, { pending, frame }] of this.#asked) {
      this.#asked.delete(id);
      const message = frame.subarray(2);
      message[0] = pending.query.id >> 8;
      message[1] = pending.query.id & 0xff;
      this.#core.fail(pending, reason, failure(pending.query, message, 0));
    }
  }
}
