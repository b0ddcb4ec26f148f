/** The DNS proxy of one node: listeners, upstream sockets, rules, and the agent when it is there. */
import { DatagramBatch } from '../agent/kernel/datagram-batch.ts';
import type { Address } from '../agent/model/address.ts';
import type { Channel } from './channel.ts';
import {
  CONTRACT_VERSION,
  type AgentMessage,
  type LearnedAnswer,
  type ProxyMessage,
  type ProxySettings,
} from './contract.ts';
import { Core } from './core.ts';
import { Counters } from './counters.ts';
import { Endpoints } from './endpoints.ts';
import { Grants } from './grants.ts';
import { Lessons } from './lessons.ts';
import { openListeners } from './listeners.ts';
import { Records } from './records.ts';
import { isWorld, ServerIdentities, type IdentitySource } from './server-identities.ts';
import { TcpFront } from './tcp-front.ts';
import { UdpFront } from './udp-front.ts';
import { UdpUpstream } from './udp-upstream.ts';

/** The agent, as the proxy talks to it. */
export type AgentChannel = Channel<ProxyMessage, AgentMessage>;

export interface ServerOptions {
  readonly settings: ProxySettings;
  /** Preferred port of the listeners; 0 is any. */
  readonly port: number;
  readonly identities: IdentitySource;
  /** Gives an address an identity in the kernel's ipcache; absent where the agent is always there. */
  readonly write?: (address: Address, identity: number) => void;
  readonly onError: (message: string, error: unknown) => void;
}

/** How often time is looked at, in milliseconds: for answers that wait, and for all else. */
const LATE_MS = 10;
const TIDY_MS = 250;
const NEWS_MS = 1_000;
const RECORDS_MS = 50;
/** Answers of servers can be of any size; the buffer is one for all sockets. */
const RECEIVE = { datagrams: 32, bytes: 65_535 } as const;

export class DnsServer implements Disposable {
  readonly port: number;
  readonly counters = new Counters();
  readonly #options: ServerOptions;
  readonly #endpoints = new Endpoints();
  readonly #grants = new Grants();
  readonly #records = new Records();
  readonly #lessons: Lessons;
  readonly #stack: DisposableStack;
  readonly #identities: ServerIdentities;
  #recordsTimer: NodeJS.Timeout | undefined;
  #lateTimer: NodeJS.Timeout | undefined;
  #settings: ProxySettings;
  #agent: AgentChannel | undefined;

  private constructor(options: ServerOptions, stack: DisposableStack, port: number) {
    this.#options = options;
    this.#stack = stack;
    this.#settings = options.settings;
    this.#identities = new ServerIdentities(options.identities);
    this.port = port;
    this.#lessons = new Lessons({
      ...{ counters: this.counters, now: Date.now, maxDelayMs: () => this.#settings.maxDelayMs },
      grant: (name, address) => this.#grant(name, address),
      onWaiting: () => this.#watchDeadlines(),
    });
  }

  /** Listens; until rules come, every query is refused. @throws KernelError SYSCALL_FAILED */
  static async start(options: ServerOptions): Promise<DnsServer> {
    using undo = new DisposableStack();
    const listeners = openListeners(options.port);
    const stack = new DisposableStack();
    const server = new DnsServer(options, stack, listeners.port);
    undo.use(server);
    const core = new Core({
      ...{
        endpoints: server.#endpoints,
        lessons: server.#lessons,
        counters: server.counters,
        records: server.#records,
      },
      ...{ identities: server.#identities, settings: () => server.#settings },
    });
    const receiving = new DatagramBatch(RECEIVE.datagrams, RECEIVE.bytes);
    const upstreams = ([4, 6] as const).map((family) => {
      const upstream = new UdpUpstream(family, core, receiving);
      const onError = (error: unknown): void => options.onError('a query is lost', error);
      const front = new UdpFront(listeners.udp[family], listeners.port, core, upstream, onError);
      stack.defer(() => upstream.close());
      stack.defer(() => front.close());
      return upstream;
    });
    const fronts = await Promise.all(
      [4, 6].map((family) => TcpFront.listen(listeners.tcp[family as 4 | 6], listeners.port, core)),
    );
    for (const front of fronts) stack.defer(() => front.close());
    server.#repeat(TIDY_MS, () => [...upstreams, ...fronts].forEach((part) => part.tidy()));
    server.#repeat(NEWS_MS, () => server.#sendNews());
    undo.move();
    return server;
  }

  /** Makes `channel` the agent that is told and asked; the one before, if any, is left. */
  attach(channel: AgentChannel): void {
    this.#detach();
    this.#reopenIpcache();
    this.#agent = channel;
    channel.onMessage = (message) => this.#hear(message);
    channel.onClose = () => {
      if (this.#agent === channel) this.#detach();
    };
    channel.send({ type: 'hello', version: CONTRACT_VERSION, port: this.port });
    channel.send({ type: 'answers', answers: this.#lessons.backlog() });
    this.#lessons.connect((answers: readonly LearnedAnswer[]) => channel.send({ type: 'answers', answers }));
  }

  [Symbol.dispose](): void {
    this.#detach();
    clearTimeout(this.#lateTimer);
    this.#stack.dispose();
  }

  #detach(): void {
    const agent = this.#agent;
    this.#agent = undefined;
    this.#watch(false);
    this.#lessons.connect(undefined);
    agent?.close();
  }

  #hear(message: AgentMessage): void {
    switch (message.type) {
      case 'hello':
        if (message.version === CONTRACT_VERSION) this.#settings = message.settings;
        else this.#detach();
        return;
      case 'replace':
        for (const id of this.#endpoints.replace(message.endpoints)) this.#lessons.forget(id);
        this.#grants.replace(message.grants);
        return;
      case 'change':
        this.#endpoints.change(message);
        for (const id of message.removed ?? []) this.#lessons.forget(id);
        if (message.grants !== undefined) this.#grants.replace(message.grants);
        return;
      case 'ack':
        this.#lessons.acknowledged(message.answers, message);
        return;
      case 'forget':
        this.#lessons.forget(message.endpoint);
        return;
      case 'watch':
        this.#watch(message.queries);
    }
  }

  /** Nobody but the agent knows what an address is that the ipcache speaks of: that stays as it is. */
  #grant(name: string, address: Address): void {
    const { write, identities, onError } = this.#options;
    if (write === undefined) return;
    try {
      const known = identities.lookup(address);
      if (known !== undefined && !isWorld(known)) return;
      const identity = this.#grants.identityOf(name, address.family);
      if (identity === undefined) return;
      write(address, identity);
      this.counters.add('granted');
    } catch (error) {
      onError(`an address of ${name} stays closed until the agent is back`, error);
    }
  }

  #sendNews(): void {
    this.#lessons.prune();
    const counters = this.#agent && this.counters.news();
    if (counters !== undefined) this.#agent?.send({ type: 'counters', counters });
  }

  /** Without another ipcache the one that is open goes on serving. */
  #reopenIpcache(): void {
    try {
      this.#identities.reopen();
    } catch (error) {
      this.#options.onError(
        'the ipcache of the agent cannot be opened: servers are known by that of the last one',
        error,
      );
    }
  }

  #watch(on: boolean): void {
    clearInterval(this.#recordsTimer);
    this.#records.watch(on);
    if (on) this.#recordsTimer = setInterval(() => this.#sendRecords(), RECORDS_MS);
  }

  /** Looks for late answers for as long as any wait: an idle proxy does not wake up for them. */
  #watchDeadlines(): void {
    this.#lateTimer ??= setTimeout(() => {
      this.#lateTimer = undefined;
      this.#lessons.releaseLate();
      if (this.#lessons.waiting) this.#watchDeadlines();
    }, LATE_MS);
  }

  #sendRecords(): void {
    const { queries, lost } = this.#records.take();
    if (queries.length > 0 || lost > 0) this.#agent?.send({ type: 'queries', queries, lost });
  }

  #repeat(ms: number, work: () => void): void {
    const timer = setInterval(work, ms);
    this.#stack.defer(() => clearInterval(timer));
  }
}
