/** An API server as a {@link ResourceSource}: every kind followed at once. */
import type { Clock } from '../../model/clock.ts';
import { errorText, WeirError } from '../../model/errors.ts';
import type { ResourceEvent, ResourceKind, ResourceSource, ResourceStatus } from '../../model/resource.ts';
import { ApiRefusal, type ApiServer } from './client.ts';
import type { MirrorIssue } from './mirror.ts';
import { Reflector, type ReflectorState } from './reflector.ts';
import { delay } from './retry.ts';
import { Interner } from './slim.ts';

/** How the agent stands with its API server. */
export interface KubernetesState {
  /** What goes wrong, by kind; empty when all is well. */
  readonly failing: ReadonlyMap<ResourceKind, string>;
  /** Since when something has been going wrong: milliseconds since the epoch. */
  readonly since: number | undefined;
  /** Kinds that the server does not have: their definitions are missing. */
  readonly absent: readonly ResourceKind[];
  /** Kinds that have not been taken in whole yet. */
  readonly waiting: readonly ResourceKind[];
}

export interface KubernetesSourceOptions {
  readonly server: ApiServer;
  readonly clock: Clock;
  /** Whose pods are followed. */
  readonly nodeName: string;
  /** Endpoints come in slices, which the operator makes, instead of one by one. */
  readonly endpointSlices: boolean;
  /** Identities and endpoints are learned elsewhere. */
  readonly withoutEndpoints?: boolean;
  /** How long the server may be silent before it is asked whether it lives, in milliseconds. */
  readonly heartbeatMs?: number;
  readonly onState: (state: KubernetesState) => void;
  readonly onIssue?: (issue: MirrorIssue) => void;
  /** What consumers say about an object. */
  readonly onStatus?: (status: ResourceStatus) => void;
  /** A number in [0, 1), as Math.random gives. */
  readonly random?: () => number;
}

const HEARTBEAT_MS = 15_000;

/** An endpoint is nobody's until its identity is known, so these wait for the identities. */
const ENDPOINT_KINDS: readonly ResourceKind[] = ['CiliumEndpoint', 'CiliumEndpointSlice'];

/** What agents tell each other, here or in a key-value store. */
const SHARED_KINDS: readonly ResourceKind[] = [...ENDPOINT_KINDS, 'CiliumIdentity'];

const ALWAYS: readonly ResourceKind[] = [
  'Namespace',
  'Node',
  'CiliumNode',
  'CiliumIdentity',
  'Pod',
  'Service',
  'EndpointSlice',
  'NetworkPolicy',
  'ClusterNetworkPolicy',
  'CiliumNetworkPolicy',
  'CiliumClusterwideNetworkPolicy',
  'CiliumCIDRGroup',
];

export class KubernetesSource implements ResourceSource {
  readonly #options: KubernetesSourceOptions;
  readonly #reflectors: readonly Reflector[];
  readonly #states = new Map<ResourceKind, ReflectorState>();
  readonly #unsynced = new Set<ResourceKind>();
  readonly #stop = new AbortController();
  #failingSince: number | undefined;
  #heard: number;
  #running: Promise<unknown> = Promise.resolve();
  #onEvent: ((event: ResourceEvent) => void) | undefined;

  constructor(options: KubernetesSourceOptions) {
    this.#options = options;
    this.#heard = options.clock.now();
    const interner = new Interner();
    const shared = [...ALWAYS, options.endpointSlices ? 'CiliumEndpointSlice' : 'CiliumEndpoint'] as const;
    const kinds = shared.filter((kind) => options.withoutEndpoints !== true || !SHARED_KINDS.includes(kind));
    this.#reflectors = kinds.map((kind) => this.#reflector(kind, interner));
    for (const kind of kinds) this.#unsynced.add(kind);
  }

  get state(): KubernetesState {
    const failing = new Map<ResourceKind, string>();
    const absent: ResourceKind[] = [];
    for (const [kind, state] of this.#states) {
      if (state.phase === 'failing') failing.set(kind, errorText(state.error));
      if (state.phase === 'absent') absent.push(kind);
    }
    return { failing, since: this.#failingSince, absent, waiting: [...this.#unsynced] };
  }

  /** How many objects of each kind there are. */
  counts(): ReadonlyMap<ResourceKind, number> {
    return new Map(this.#reflectors.map(({ kind, size }) => [kind, size]));
  }

  /**
   * Goes on trying for as long as it takes.
   *
   * @throws WeirError SOURCE_STOPPED when {@link stop} ends it before everything is known.
   */
  async start(onEvent: (event: ResourceEvent) => void): Promise<void> {
    this.#onEvent = onEvent;
    const { signal } = this.#stop;
    const endpoints = this.#reflectors.filter(({ kind }) => ENDPOINT_KINDS.includes(kind));
    const others = this.#reflectors.filter(({ kind }) => !ENDPOINT_KINDS.includes(kind));
    const identities = this.#reflectors.find(({ kind }) => kind === 'CiliumIdentity');
    const stopped = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
    const following = [
      ...others.map((reflector) => reflector.run(signal)),
      ...endpoints.map(async (reflector) => {
        await Promise.race([identities?.synced, stopped]);
        await reflector.run(signal);
      }),
    ];
    this.#running = Promise.all([...following, this.#heartbeat(signal)]);
    const synced = this.#reflectors.map(async (reflector) => {
      await reflector.synced;
      this.#unsynced.delete(reflector.kind);
      this.#tell();
    });
    await Promise.race([Promise.all(synced), stopped]);
    // Who goes on with half of the policies opens what the other half closes.
    if (this.#stop.signal.aborted) throw new WeirError('SOURCE_STOPPED', 'stopped before everything was known');
    onEvent({ type: 'synced' });
  }

  report(status: ResourceStatus): void {
    this.#options.onStatus?.(status);
  }

  /** After this resolves nothing more is delivered. */
  async stop(): Promise<void> {
    this.#onEvent = undefined;
    this.#stop.abort();
    await this.#running;
  }

  #reflector(kind: ResourceKind, interner: Interner): Reflector {
    const { server, clock, nodeName, random = Math.random, onIssue } = this.#options;
    return new Reflector({
      ...{ kind, server, clock, random, interner },
      ...(onIssue !== undefined && { onIssue }),
      ...(kind === 'Pod' && { fieldSelector: `spec.nodeName=${nodeName}` }),
      onEvent: (event) => {
        this.#heard = clock.now();
        this.#onEvent?.(event);
      },
      onState: (state) => this.#changed(kind, state),
    });
  }

  #changed(kind: ResourceKind, state: ReflectorState): void {
    const { clock } = this.#options;
    const before = this.#states.get(kind);
    // To try again is not to succeed.
    if (before !== undefined && before.phase !== 'watching' && state.phase === 'listing') return;
    this.#states.set(kind, state);
    if (state.phase === 'watching') this.#heard = clock.now();
    const failing = [...this.#states.values()].some(({ phase }) => phase === 'failing');
    this.#failingSince = failing ? (this.#failingSince ?? clock.now()) : undefined;
    if (before?.phase !== state.phase || state.phase === 'failing') this.#tell();
  }

  #tell(): void {
    if (!this.#stop.signal.aborted) this.#options.onState(this.state);
  }

  /** A network that swallows packets does not end connections: who is silent is asked, and given up if he is gone. */
  async #heartbeat(signal: AbortSignal): Promise<void> {
    const { server, clock, heartbeatMs = HEARTBEAT_MS } = this.#options;
    const stopped = (): boolean => signal.aborted;
    while (!stopped()) {
      await delay(clock, heartbeatMs, signal);
      if (stopped() || clock.now() - this.#heard < heartbeatMs) continue;
      try {
        await server.request({ method: 'GET', path: '/version' });
        this.#heard = clock.now();
      } catch (error) {
        // One that refuses is alive. Otherwise the watches find out what is wrong, and say it.
        if (error instanceof ApiRefusal) continue;
        for (const reflector of this.#reflectors) reflector.interrupt();
      }
    }
  }
}
