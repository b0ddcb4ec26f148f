/** Pods' TCP connections to servers, taken in as if by those. */
import net from 'node:net';
import { parseAddress } from '../agent/model/address.ts';
import { TCP, type Core, type Peer } from './core.ts';
import type { ProxyEndpoint } from './endpoints.ts';
import { frame, FrameSplitter } from './message/framing.ts';
import { TcpUpstream } from './tcp-upstream.ts';

/** Queries of one connection that may be on their way at once: then the pod is not read from. */
const PIPELINED = 256;
/** Bytes of answers that a pod may leave unread: then neither. */
const UNREAD_BYTES = 1024 * 1024;

export class TcpFront {
  readonly #core: Core;
  readonly #port: number;
  readonly #server: net.Server;
  readonly #connections = new Set<Connection>();

  private constructor(core: Core, port: number) {
    this.#core = core;
    this.#port = port;
    this.#server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#accept(socket));
  }

  /** Takes over the listener's descriptor. */
  static async listen(fd: number, port: number, core: Core): Promise<TcpFront> {
    const front = new TcpFront(core, port);
    await new Promise<void>((resolve, reject) => {
      front.#server.once('error', reject).listen({ fd, backlog: 1024 }, resolve);
    });
    return front;
  }

  tidy(): void {
    for (const connection of this.#connections) connection.tidy();
  }

  close(): void {
    this.#server.close();
    for (const connection of this.#connections) connection.close();
  }

  #accept(socket: net.Socket): void {
    const { remoteAddress, remotePort, localAddress, localPort } = socket;
    if (remoteAddress === undefined || localAddress === undefined) {
      socket.destroy();
      return;
    }
    const client = { address: parseAddress(remoteAddress), port: remotePort! };
    const server = { address: parseAddress(localAddress), port: localPort! };
    const endpoint = this.#core.endpointAt(client.address);
    const full = endpoint !== undefined && endpoint.connections >= this.#core.settings.connectionsPerEndpoint;
    if (endpoint === undefined || full || server.port === this.#port) {
      if (full) this.#core.counters.add('overloaded');
      // A reset, so that the pod does not wait.
      socket.resetAndDestroy();
      return;
    }
    const connection = new Connection(this.#core, endpoint, socket, client, server);
    this.#connections.add(connection);
    socket.on('close', () => {
      connection.close();
      this.#connections.delete(connection);
    });
  }
}

class Connection {
  readonly #core: Core;
  readonly #endpoint: ProxyEndpoint;
  readonly #socket: net.Socket;
  readonly #client: Peer;
  readonly #server: Peer;
  readonly #splitter = new FrameSplitter();
  readonly #upstream: TcpUpstream;
  /** Queries without an answer. */
  #owed = 0;
  #ended = false;
  #open = true;

  constructor(core: Core, endpoint: ProxyEndpoint, socket: net.Socket, client: Peer, server: Peer) {
    this.#core = core;
    this.#endpoint = endpoint;
    this.#socket = socket;
    this.#client = client;
    this.#server = server;
    this.#upstream = new TcpUpstream(core, endpoint.identity, server);
    endpoint.connections++;
    socket.setTimeout(core.settings.idleTimeoutMs);
    socket.on('data', (chunk) => this.#read(chunk));
    socket.on('drain', () => this.#pace());
    socket.on('end', () => {
      this.#ended = true;
      this.#finish();
    });
    socket.on('timeout', () => {
      if (this.#owed === 0) socket.destroy();
    });
    // What an error says, the close says as well.
    socket.on('error', () => undefined);
  }

  tidy(): void {
    this.#upstream.tidy();
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#endpoint.connections--;
    this.#upstream.close();
    this.#socket.destroy();
  }

  #read(chunk: Buffer): void {
    const began = performance.now();
    this.#splitter.push(chunk, (message) => this.#take(message, began));
    if (this.#splitter.broken) this.#socket.destroy();
    else this.#pace();
  }

  #take(bytes: Uint8Array, began: number): void {
    this.#owed++;
    const pending = this.#core.receive(this.#endpoint, {
      ...{ protocol: TCP, client: this.#client, server: this.#server, bytes, start: 0, end: bytes.length, began },
      answer: (message) => this.#answer(message),
    });
    if (typeof pending === 'object') this.#upstream.ask(pending, bytes);
    // A stream of what is no DNS.
    else if (pending === 'ignored') this.#socket.destroy();
  }

  #answer(message: Uint8Array): void {
    this.#owed--;
    if (!this.#open) return;
    this.#socket.write(frame(message));
    this.#pace();
    this.#finish();
  }

  /** Reads from the pod for as long as it takes its answers. */
  #pace(): void {
    const busy = this.#owed >= PIPELINED || this.#socket.writableLength > UNREAD_BYTES;
    if (busy) this.#socket.pause();
    else if (this.#socket.isPaused()) this.#socket.resume();
  }

  /** A pod that has said its last gets its answers, and then the end. */
  #finish(): void {
    if (this.#ended && this.#owed === 0) this.#socket.end();
  }
}
