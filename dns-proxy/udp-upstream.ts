/**
 * Queries over UDP on their way to servers. A socket speaks for one identity, which its packets carry as their mark, and for a
 * while only: its port is random, as is the number of each query.
 */
import { DatagramBatch } from '../agent/kernel/datagram-batch.ts';
import { closeFile } from '../agent/kernel/libc.ts';
import { Poll } from '../agent/kernel/poll.ts';
import { openSocket } from '../agent/kernel/socket.ts';
import { addressEquals, parseAddress } from '../agent/model/address.ts';
import { TIMED_OUT, type Core, type Peer, type Pending } from './core.ts';
import { egressMark } from './marks.ts';
import { freshId, randomWord } from './query-ids.ts';

/** Sockets of one identity that take queries at once. */
const SOCKETS = 4;
/** After which a socket takes no more: its port has been seen often enough. */
const QUERIES_PER_SOCKET = 2_000;
const SOCKET_LIFE_MS = 30_000;
/** Numbers in use at most: enough are left that a fresh one is found at once. */
const PENDING_PER_SOCKET = 16_384;
const RECEIVE_ROUNDS = 8;
const LARGEST_QUERY = 4096;
const ANY = { 4: parseAddress('0.0.0.0'), 6: parseAddress('::') } as const;

interface Outgoing {
  readonly socket: Socket;
  readonly server: Peer;
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
}

interface Socket {
  readonly fd: number;
  readonly poll: Poll;
  readonly pending: Map<number, Pending>;
  readonly opened: number;
  used: number;
  lastUsed: number;
}

/** All sockets to servers of one family. */
export class UdpUpstream {
  readonly family: 4 | 6;
  readonly #core: Core;
  readonly #byIdentity = new Map<number, Socket[]>();
  /** No longer used for new queries. */
  readonly #retired = new Set<Socket>();
  readonly #sending = new DatagramBatch(64, LARGEST_QUERY);
  /** Shared: it is empty again whenever control returns to the event loop. */
  readonly #receiving: DatagramBatch;
  #outgoing: Outgoing[] = [];
  /** In the order in which they went out, which is that of their time running out. */
  #waiting: { readonly pending: Pending; readonly socket: Socket; readonly id: number }[] = [];
  #firstWaiting = 0;

  constructor(family: 4 | 6, core: Core, receiving: DatagramBatch) {
    this.family = family;
    this.#core = core;
    this.#receiving = receiving;
  }

  /**
   * Takes a query to send with the next {@link flush}, until when its bytes must stay; its number in them is changed.
   *
   * @throws KernelError when no socket can be opened
   */
  ask(pending: Pending, bytes: Uint8Array, start: number, end: number): void {
    const socket = this.#socketFor(pending.endpoint.identity);
    const id = freshId(socket.pending);
    socket.pending.set(id, pending);
    socket.used++;
    socket.lastUsed = pending.began;
    this.#waiting.push({ pending, socket, id });
    bytes[start] = id >> 8;
    bytes[start + 1] = id & 0xff;
    this.#outgoing.push({ socket, server: pending.server, bytes, start, end });
  }

  flush(): void {
    while (this.#outgoing.length > 0) {
      const { socket } = this.#outgoing[0]!;
      const others: Outgoing[] = [];
      for (const query of this.#outgoing) {
        if (query.socket !== socket) others.push(query);
        else this.#add(query);
      }
      this.#sending.send(socket.fd);
      this.#outgoing = others;
    }
  }

  /** Gives up what was not answered in time, and sockets that nobody needs. */
  tidy(): void {
    const now = performance.now();
    const oldest = now - this.#core.settings.upstreamTimeoutMs;
    let at = this.#firstWaiting;
    for (; at < this.#waiting.length; at++) {
      const { pending, socket, id } = this.#waiting[at]!;
      if (!pending.done && pending.asked > oldest) break;
      if (pending.done) continue;
      socket.pending.delete(id);
      // The client has given up too: it asks again by itself.
      this.#core.fail(pending, TIMED_OUT);
    }
    this.#firstWaiting = at;
    if (at > 1024 && at * 2 > this.#waiting.length) {
      this.#waiting = this.#waiting.slice(at);
      this.#firstWaiting = 0;
    }
    this.#tidySockets(now);
  }

  /** Sockets that are open. */
  get sockets(): number {
    return [...this.#byIdentity.values()].reduce((sum, { length }) => sum + length, this.#retired.size);
  }

  close(): void {
    for (const sockets of this.#byIdentity.values()) for (const socket of sockets) closeSocket(socket);
    for (const socket of this.#retired) closeSocket(socket);
    this.#byIdentity.clear();
    this.#retired.clear();
  }

  #add({ socket, server, bytes, start, end }: Outgoing): void {
    const message = bytes.subarray(start, end);
    if (this.#sending.add(message, server)) return;
    this.#sending.send(socket.fd);
    this.#sending.add(message, server);
  }

  #socketFor(identity: number): Socket {
    const sockets = this.#byIdentity.get(identity) ?? [];
    this.#byIdentity.set(identity, sockets);
    const index = randomWord() % SOCKETS;
    const socket = sockets[Math.min(index, sockets.length)];
    if (socket !== undefined && socket.used < QUERIES_PER_SOCKET && socket.pending.size < PENDING_PER_SOCKET)
      return socket;
    const opened = this.#open(identity);
    if (socket !== undefined) this.#retired.add(socket);
    sockets[Math.min(index, sockets.length)] = opened;
    return opened;
  }

  #open(identity: number): Socket {
    const fd = openSocket({
      ...{ protocol: 'udp', bind: { address: ANY[this.family], port: 0 }, exclusive: true },
      ...{ mark: egressMark(identity), receiveBuffer: 1024 * 1024 },
    });
    const socket: Socket = {
      ...{ fd, pending: new Map(), opened: performance.now(), used: 0, lastUsed: performance.now() },
      poll: Poll.readable(fd, () => this.#read(socket)),
    };
    return socket;
  }

  #read(socket: Socket): void {
    const batch = this.#receiving;
    for (let round = 0; round < RECEIVE_ROUNDS; round++) {
      const count = batch.receive(socket.fd);
      for (let i = 0; i < count; i++) this.#take(socket, batch, i);
      if (count < batch.capacity) break;
    }
    this.#core.flush();
  }

  #take(socket: Socket, batch: DatagramBatch, i: number): void {
    const { bytes } = batch;
    const start = batch.start(i);
    const end = start + batch.length(i);
    const id = (bytes[start]! << 8) | bytes[start + 1]!;
    const pending = end - start < 2 ? undefined : socket.pending.get(id);
    if (pending === undefined || !samePeer(batch.source(i), pending.server)) {
      this.#core.counters.add('unsolicited');
      return;
    }
    const decision = this.#core.judge(pending, id, bytes, start, end);
    if (decision === undefined) return;
    socket.pending.delete(id);
    bytes[start] = pending.query.id >> 8;
    bytes[start + 1] = pending.query.id & 0xff;
    this.#core.deliver(pending, bytes.subarray(start, end), decision);
  }

  #tidySockets(now: number): void {
    for (const [identity, sockets] of this.#byIdentity) {
      const old = sockets.filter((socket) => now - socket.opened > SOCKET_LIFE_MS);
      for (const socket of old) this.#retired.add(socket);
      const kept = sockets.filter((socket) => !old.includes(socket));
      if (kept.length === 0) this.#byIdentity.delete(identity);
      else if (old.length > 0) this.#byIdentity.set(identity, kept);
    }
    for (const socket of this.#retired) {
      if (socket.pending.size > 0) continue;
      this.#retired.delete(socket);
      closeSocket(socket);
    }
  }
}

function samePeer(a: Peer, b: Peer): boolean {
  return a.port === b.port && addressEquals(a.address, b.address);
}

function closeSocket({ fd, poll }: Socket): void {
  poll.close();
  closeFile(fd);
}
