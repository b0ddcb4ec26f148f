/** A node's whole dealings with etcd: its lease, its keys, and the keys of others. */
import type { Clock } from '../model/clock.ts';
import { WeirError } from '../model/errors.ts';
import { identityId, IDENTITY_SCOPE, type Identity, type IdentityId } from '../model/identity.ts';
import type { ClusterNode } from '../model/node.ts';
import { EtcdClient, type EtcdOperation } from './etcd/client.ts';
import type { EtcdConfig } from './etcd/config.ts';
import { KvstoreIdentities } from './identities.ts';
import { IDENTITIES, IPS, nodesOf, parseLabels } from './layout.ts';
import { LeasedKeys } from './leased-keys.ts';
import { PrefixWatch } from './prefix-watch.ts';
import { decodeIp, decodeNode, type IpRecord } from './records.ts';
import { Session } from './session.ts';

export interface KvstoreOptions {
  readonly config: EtcdConfig;
  /** Reads it again: certificates are renewed on disk. */
  readonly reload?: () => EtcdConfig;
  readonly clock: Clock;
  readonly nodeName: string;
  readonly clusterName: string;
  readonly ttlSeconds: number;
  /** Where the lease is remembered. */
  readonly path: string;
  readonly onError: (message: string, error: unknown) => void;
  readonly onOperation?: (operation: EtcdOperation) => void;
  readonly onQuorumError?: (error: unknown) => void;
}

/** Who hears of the keys of others. What a key said before is void. */
export interface KvstoreListener {
  onIdentity(id: IdentityId, identity: Identity | undefined): void;
  /** @param name of the key */
  onIp(name: string, record: IpRecord | undefined): void;
  onNode(name: string, node: ClusterNode | undefined): void;
  /** Whether an address that was told has the identity. */
  isUsed(id: IdentityId): boolean;
  /** The store is back, or another one, or has lost something: what this node uses is to be said again. */
  onUncertain(): void;
}

/** How it stands. */
export interface KvstoreState {
  readonly endpoint: string;
  readonly lease: string | undefined;
  /** What the operator wrote last. */
  readonly heartbeat: string | undefined;
  /** What has not been taken in whole yet. */
  readonly waiting: readonly string[];
  readonly error: unknown;
  /** Since when it is away: milliseconds since the epoch. */
  readonly since: number | undefined;
  /** Keys of this node that could not be written. */
  readonly failed: number;
}

/**
 * How long what went missing while the store was away counts as there: long enough for every node to find its connection
 * dead, to come back and to write its keys again.
 */
const GRACE_MS = 30_000;

export class Kvstore implements AsyncDisposable {
  readonly client: EtcdClient;
  readonly session: Session;
  readonly identities: KvstoreIdentities;
  readonly keys: LeasedKeys;
  readonly #options: KvstoreOptions;
  readonly #stop = new AbortController();
  readonly #waiting = new Set<string>();
  readonly #running: Promise<void>[] = [];
  /** What is wrong, by what is followed. */
  readonly #failing = new Map<string, unknown>();
  #since: number | undefined;
  #listener: KvstoreListener | undefined;

  constructor(options: KvstoreOptions) {
    const { config, reload, clock, nodeName, clusterName, ttlSeconds, path, onError, onOperation, onQuorumError } =
      options;
    this.#options = options;
    this.client = new EtcdClient({
      ...{ config, clock },
      ...(reload !== undefined && { reload }),
      ...(onOperation !== undefined && { onOperation }),
    });
    const { client } = this;
    this.session = new Session({
      ...{ client, clock, ttlSeconds, path },
      onLease: (lease) => {
        this.keys.setLease(lease);
        this.#uncertain();
      },
      onContact: (error) => this.#note('lease', error),
      ...(onQuorumError !== undefined && { onQuorumError }),
    });
    this.identities = new KvstoreIdentities({
      ...{ client, session: this.session, clock, nodeName },
      isUsed: (id) => this.#listener?.isUsed(id) === true,
    });
    this.keys = new LeasedKeys({
      ...{ client, session: this.session, clock, onError },
      prefixes: [IPS, nodesOf(clusterName)],
    });
  }

  get state(): KvstoreState {
    const { lease, heartbeat } = this.session.state;
    return {
      endpoint: this.client.endpoint,
      ...{ lease, heartbeat, since: this.#since },
      waiting: [...this.#waiting],
      error: [...this.#failing.values()][0],
      failed: this.keys.counts().failed,
    };
  }

  /** Keys that are to be written still, and those that could not be. */
  get backlog(): number {
    const { pending, failed } = this.keys.counts();
    return pending + failed;
  }

  /**
   * Follows the keys of others; goes on trying. Resolves when all have been told that there were at the start.
   *
   * @throws WeirError SOURCE_STOPPED when {@link stop} ends it before that
   */
  async follow(listener: KvstoreListener): Promise<void> {
    this.#listener = listener;
    const { signal } = this.#stop;
    this.#running.push(this.session.run(signal));
    const identities = this.#watch('identities', IDENTITIES.byId, {
      onPut: (name, value) => this.#identity(name, value),
      onDelete: (name) => this.#identity(name, undefined),
      onReturn: () => {
        this.session.check();
        this.#uncertain();
      },
    });
    const nodes = this.#watch('nodes', nodesOf(this.#options.clusterName), {
      onPut: (name, value) => listener.onNode(name, decodeNode(name, value)),
      onDelete: (name) => listener.onNode(name, undefined),
    });
    // An endpoint is nobody's until its identity is known.
    await this.#run('identities', identities);
    const ips = this.#watch('addresses', IPS, {
      onPut: (name, value) => listener.onIp(name, decodeIp(name, value)),
      onDelete: (name) => listener.onIp(name, undefined),
    });
    await Promise.all([this.#run('nodes', nodes), this.#run('addresses', ips)]);
  }

  /** Nothing is followed, and no lease renewed, from here on. */
  stop(): void {
    this.#stop.abort();
  }

  /** Ends all that runs. The keys of this node stay until its lease runs out. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.stop();
    await this.keys.close();
    this.client[Symbol.dispose]();
    await Promise.all(this.#running);
  }

  #watch(
    what: string,
    prefix: string,
    on: {
      readonly onPut: (name: string, value: string) => void;
      readonly onDelete: (name: string) => void;
      readonly onReturn?: () => void;
    },
  ): PrefixWatch {
    const { clock, onError } = this.#options;
    this.#waiting.add(what);
    return new PrefixWatch({
      ...{ client: this.client, clock, prefix, graceMs: GRACE_MS, onDelete: on.onDelete },
      ...(on.onReturn !== undefined && { onReturn: on.onReturn }),
      onPut: (name, value) => {
        try {
          on.onPut(name, value);
        } catch (error) {
          // One that cannot be read must not keep the others from being heard; what it said before stays.
          onError(`${prefix}${name} is left out`, error);
        }
      },
      onMissing: (name) => this.keys.missing(prefix + name),
      onState: (error) => this.#note(what, error),
    });
  }

  async #run(what: string, watch: PrefixWatch): Promise<void> {
    const { signal } = this.#stop;
    this.#running.push(watch.run(signal));
    const stopped = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
    await Promise.race([watch.synced, stopped]);
    if (signal.aborted) throw new WeirError('SOURCE_STOPPED', `stopped before all ${what} were known`);
    this.#waiting.delete(what);
  }

  /** Numbers that no node gives are not the cluster's. */
  #identity(name: string, value: string | undefined): void {
    const id = identityId(Number(name));
    const { first, last } = IDENTITY_SCOPE.cluster;
    if (!Number.isInteger(id) || id < first || id > last) return;
    const labels = value === undefined ? undefined : parseLabels(value);
    if (value !== undefined && labels === undefined) throw new Error(`${JSON.stringify(value)} are no labels`);
    if (labels === undefined) this.identities.missing(id);
    this.#listener?.onIdentity(id, labels && { id, labels });
  }

  #uncertain(): void {
    this.identities.forgetLease();
    this.#listener?.onUncertain();
  }

  #note(what: string, error: unknown): void {
    const before = this.#failing.size;
    if (error === undefined) this.#failing.delete(what);
    else this.#failing.set(what, error);
    this.#since = this.#failing.size === 0 ? undefined : (this.#since ?? this.#options.clock.now());
    if (error !== undefined && before === 0)
      this.#options.onError('etcd cannot be followed, what was known stays', error);
  }
}
