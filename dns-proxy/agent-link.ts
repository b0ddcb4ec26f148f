/** The agent's end of the way to its proxy, be that a worker of the agent or a process of its own. */
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { errorText, WeirError } from '../agent/model/errors.ts';
import { portChannel, socketChannel, type Channel } from './channel.ts';
import {
  CONTRACT_VERSION,
  type AgentMessage,
  type DnsProxy,
  type EndpointNames,
  type LearnedAnswer,
  type NameGrants,
  type ProxyListener,
  type ProxyMessage,
  type ProxySettings,
  type RulesChange,
} from './contract.ts';
import type { WorkerSettings } from './worker-settings.ts';

type ProxyChannel = Channel<AgentMessage, ProxyMessage>;

export interface LinkOptions {
  readonly settings: ProxySettings;
  readonly onError: (message: string, error: unknown) => void;
}

/** How long a proxy that is there may take until it is known what it has learned, in milliseconds. */
const GREETING_MS = 5_000;
/** How soon a proxy that has gone is looked for again, in milliseconds. */
const AGAIN_MS = 200;

/** Speaks with whatever proxy there is. */
class LinkedProxy implements DnsProxy {
  readonly #options: LinkOptions;
  readonly #listener: ProxyListener;
  /** Opens a channel; undefined when there is nobody now. */
  readonly #open: () => Promise<ProxyChannel | undefined>;
  #channel: ProxyChannel | undefined;
  #port: number | undefined;
  /** The port that was said, until what was learned so far has come too. */
  #greeted: number | undefined;
  readonly #met = Promise.withResolvers<true>();
  #watching = false;
  #closed = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: LinkOptions, listener: ProxyListener, open: () => Promise<ProxyChannel | undefined>) {
    this.#options = options;
    this.#listener = listener;
    this.#open = open;
  }

  get port(): number | undefined {
    return this.#port;
  }

  /** Looks for a proxy; when there is none, again and again. */
  async look(): Promise<void> {
    let channel: ProxyChannel | undefined;
    try {
      channel = await this.#open();
    } catch (error) {
      this.#options.onError('the DNS proxy cannot be started', error);
    }
    if (this.#closed) {
      channel?.close();
      return;
    }
    if (channel === undefined) this.#lookAgain();
    else this.#use(channel);
  }

  /** Looks for a proxy; one that is there has said what it learned so far when this resolves. */
  async begin(): Promise<this> {
    await this.look();
    if (this.#channel !== undefined)
      await Promise.race([this.#met.promise, sleep(GREETING_MS, undefined, { ref: false })]);
    return this;
  }

  replace(endpoints: readonly EndpointNames[], grants: NameGrants): void {
    this.#channel?.send({ type: 'replace', endpoints, grants });
  }

  change(change: RulesChange): void {
    this.#channel?.send({ type: 'change', ...change });
  }

  forget(endpoint?: number): void {
    this.#channel?.send({ type: 'forget', ...(endpoint !== undefined && { endpoint }) });
  }

  watch(queries: boolean): void {
    this.#watching = queries;
    this.#channel?.send({ type: 'watch', queries });
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#channel?.close();
    return Promise.resolve();
  }

  #use(channel: ProxyChannel): void {
    this.#channel = channel;
    channel.onMessage = (message) => this.#hear(channel, message);
    channel.onClose = () => {
      if (this.#channel === channel) this.#lose();
    };
    channel.send({ type: 'hello', version: CONTRACT_VERSION, settings: this.#options.settings });
    if (this.#watching) this.watch(true);
  }

  #lose(): void {
    const known = this.#port !== undefined;
    this.#channel = undefined;
    this.#port = undefined;
    this.#greeted = undefined;
    if (known) this.#listener.lost();
    if (!this.#closed) this.#lookAgain();
  }

  #lookAgain(): void {
    this.#timer = setTimeout(() => void this.look(), AGAIN_MS);
  }

  #hear(channel: ProxyChannel, message: ProxyMessage): void {
    switch (message.type) {
      case 'hello':
        if (message.version !== CONTRACT_VERSION) this.#refuse(channel, message.version);
        else this.#greeted = message.port;
        return;
      case 'answers':
        if (this.#port === undefined) this.#meet(message.answers);
        else this.#learn(channel, message.answers);
        return;
      case 'queries':
        this.#listener.queries(message.queries, message.lost);
        return;
      case 'counters':
        this.#listener.counters(message.counters);
    }
  }

  #meet(backlog: readonly LearnedAnswer[]): void {
    if (this.#greeted === undefined) return;
    this.#port = this.#greeted;
    this.#listener.connected(this.#port, backlog);
    this.#met.resolve(true);
  }

  #refuse(channel: ProxyChannel, version: number): void {
    channel.close();
    this.#options.onError(
      'the DNS proxy is of another version',
      new WeirError('CONFIG_INVALID', `speaks version ${version} of the contract, the agent ${CONTRACT_VERSION}`, {
        object: 'weir-dns-proxy',
        remedy: 'run proxy and agent of one release',
      }),
    );
  }

  #learn(channel: ProxyChannel, answers: readonly LearnedAnswer[]): void {
    const done: number[] = [];
    for (const answer of answers) {
      const learning = this.#learnOne(answer);
      if (learning === undefined) done.push(answer.id);
      else {
        learning.then(
          (times) => channel.send({ type: 'ack', answers: [answer.id], ...times }),
          (error: unknown) => {
            this.#options.onError(`what DNS says of ${answer.name} is not enforced`, error);
            channel.send({ type: 'ack', answers: [answer.id] });
          },
        );
      }
    }
    if (done.length > 0) channel.send({ type: 'ack', answers: done });
  }

  #learnOne(answer: LearnedAnswer): ReturnType<ProxyListener['learned']> {
    try {
      return this.#listener.learned(answer);
    } catch (error) {
      this.#options.onError(`what DNS says of ${answer.name} is not enforced`, error);
      return undefined;
    }
  }
}

/** The proxy as a worker of this process; one that ends is started again. */
export async function openWorkerProxy(
  options: LinkOptions & { readonly entry: URL; readonly worker: WorkerSettings },
  listener: ProxyListener,
): Promise<DnsProxy> {
  const proxy = new LinkedProxy(options, listener, () => {
    const worker = new Worker(options.entry, {
      workerData: { ...options.worker, settings: options.settings },
      argv: [],
    });
    worker.on('error', (error) => options.onError('the DNS proxy has ended', error));
    return Promise.resolve(portChannel<AgentMessage, ProxyMessage>(worker));
  });
  return await proxy.begin();
}

/** The proxy as a process of its own, `weir-dns-proxy`, that listens for the agent at `path`. */
export async function openProcessProxy(
  options: LinkOptions & { readonly path: string },
  listener: ProxyListener,
): Promise<DnsProxy> {
  let complained = false;
  const proxy = new LinkedProxy(options, listener, async () => {
    try {
      const channel = socketChannel<AgentMessage, ProxyMessage>(await connected(options.path));
      complained = false;
      return channel;
    } catch (error) {
      if (!complained) options.onError(`no DNS proxy at ${options.path}: ${errorText(error)}`, error);
      complained = true;
      return undefined;
    }
  });
  return await proxy.begin();
}

function connected(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve(socket);
    });
    socket.once('error', reject);
  });
}
