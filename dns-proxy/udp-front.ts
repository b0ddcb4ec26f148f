/** Queries over UDP as pods sent them, and the answers as if from the servers that they were sent to. */
import { DatagramBatch } from '../agent/kernel/datagram-batch.ts';
import { closeFile } from '../agent/kernel/libc.ts';
import { Poll } from '../agent/kernel/poll.ts';
import { RawDatagrams } from '../agent/kernel/raw-datagrams.ts';
import { UDP, type Core, type Peer } from './core.ts';
import { LISTENER_MARK } from './marks.ts';
import type { UdpUpstream } from './udp-upstream.ts';

const CAPACITY = 64;
/** No honest query is longer. */
const LARGEST_QUERY = 4096;
const RECEIVE_ROUNDS = 8;

export class UdpFront {
  readonly #fd: number;
  readonly #port: number;
  readonly #core: Core;
  readonly #upstream: UdpUpstream;
  readonly #onError: (error: unknown) => void;
  readonly #receiving = new DatagramBatch(CAPACITY, LARGEST_QUERY);
  readonly #answers: RawDatagrams;
  readonly #poll: Poll;
  #answering = false;

  /** Takes over the listener's descriptor. @throws KernelError */
  constructor(fd: number, port: number, core: Core, upstream: UdpUpstream, onError: (error: unknown) => void) {
    this.#fd = fd;
    this.#port = port;
    this.#core = core;
    this.#upstream = upstream;
    this.#onError = onError;
    this.#answers = new RawDatagrams(upstream.family, LISTENER_MARK);
    this.#poll = Poll.readable(fd, () => this.#read());
  }

  close(): void {
    this.#poll.close();
    closeFile(this.#fd);
    this.#answers.close();
  }

  #read(): void {
    const batch = this.#receiving;
    for (let round = 0; round < RECEIVE_ROUNDS; round++) {
      const count = batch.receive(this.#fd);
      const began = performance.now();
      for (let i = 0; i < count; i++) this.#take(batch, i, began);
      this.#upstream.flush();
      if (count < batch.capacity) break;
    }
  }

  #take(batch: DatagramBatch, i: number, began: number): void {
    const client = batch.source(i);
    const server = batch.originalDestination(i);
    const endpoint = this.#core.endpointAt(client.address);
    // What was not diverted was sent to us, and we are no server.
    if (server === undefined || endpoint === undefined || server.port === this.#port || batch.truncated(i)) return;
    const { bytes } = batch;
    const start = batch.start(i);
    const end = start + batch.length(i);
    const answer = (message: Uint8Array): void => this.#answer(message, server, client);
    const pending = this.#core.receive(endpoint, { protocol: UDP, client, server, bytes, start, end, answer, began });
    if (typeof pending === 'string') return;
    try {
      this.#upstream.ask(pending, bytes, start, end);
    } catch (error) {
      this.#core.fail(pending, 'no socket to the server');
      this.#onError(error);
    }
  }

  /** Answers leave together, at the end of the turn of the event loop that made them. */
  #answer(message: Uint8Array, server: Peer, client: Peer): void {
    this.#answers.add(message, server, client);
    if (this.#answering) return;
    this.#answering = true;
    queueMicrotask(() => {
      this.#answering = false;
      this.#answers.flush();
    });
  }
}
