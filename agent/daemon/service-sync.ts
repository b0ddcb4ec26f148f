import { LoadBalancer } from '../loadbalancer/loadbalancer.ts';
import type { LbNode, LbPod, LbService, LbSlice, ServiceHealth } from '../loadbalancer/service.ts';
import type { Clock } from '../model/clock.ts';
import type { Backend, Frontend, LbTarget } from '../model/service.ts';
import type { ServiceAction, ServiceMetrics } from './service-metrics.ts';

/** When the kernel refused: how long until everything is written again, in milliseconds. */
const RETRY_MS = 5_000;

export interface ServiceSyncOptions {
  readonly node: LbNode;
  readonly target: LbTarget;
  readonly clock: Clock;
  /** Places of Maglev's tables; absent: clients from outside are spread at random. */
  readonly maglevTableSize?: number | undefined;
  readonly metrics?: Pick<ServiceMetrics, 'heard' | 'implemented'>;
  /** What load balancers are to hear, by `namespace/name`: told when it is true of the kernel. */
  readonly onHealth?: (health: ReadonlyMap<string, ServiceHealth>) => void;
  readonly onError: (message: string, error: unknown) => void;
}

/** Keeps the kernel's services as the resources say. */
export class ServiceSync {
  readonly #balancer: LoadBalancer;
  readonly #options: ServiceSyncOptions;
  /** Nothing is written before everything that existed at the start is known: what the last agent left serves meanwhile. */
  #begun = false;
  /** What the kernel holds is not known: everything is to be written again. */
  #whole = true;
  #pending = false;
  #work: Promise<void> = Promise.resolve();
  #cancel: (() => void) | undefined;
  readonly #known = new Set<string>();
  /** What was heard of and is not in force yet, by service: the first change counts. */
  readonly #heard = new Map<string, { readonly action: ServiceAction; readonly since: number }>();

  private constructor(options: ServiceSyncOptions, balancer: LoadBalancer) {
    this.#options = options;
    this.#balancer = balancer;
  }

  /** @throws WeirError BPF_MAP_FAILED */
  static async open(options: ServiceSyncOptions): Promise<ServiceSync> {
    const known = await options.target.known();
    return new ServiceSync(options, new LoadBalancer(options.node, known, options.maglevTableSize));
  }

  /** Everything that is in force, or about to be. */
  get frontends(): readonly Frontend[] {
    return this.#balancer.frontends;
  }

  get backends(): readonly Backend[] {
    return this.#balancer.backends;
  }

  setService(namespace: string, name: string, service: LbService | undefined): void {
    const key = `${namespace}/${name}`;
    this.#hear(key, service === undefined ? 'delete' : this.#known.has(key) ? 'update' : 'add');
    if (service === undefined) this.#known.delete(key);
    else this.#known.add(key);
    this.#balancer.setService(namespace, name, service);
    this.#schedule();
  }

  setSlice(namespace: string, name: string, slice: LbSlice | undefined): void {
    this.#hear(slice?.service === undefined ? `slice ${namespace}/${name}` : `${namespace}/${slice.service}`, 'update');
    this.#balancer.setSlice(namespace, name, slice);
    this.#schedule();
  }

  /** Host ports of a pod of this node; undefined when it has none, or is gone. */
  setPod(namespace: string, name: string, pod: LbPod | undefined): void {
    this.#balancer.setPod(namespace, name, pod);
    this.#schedule();
  }

  /** Node ports move with the node's addresses. */
  setNode(node: LbNode): void {
    this.#balancer.setNode(node);
    this.#schedule();
  }

  /** Everything that existed at the start is known. Resolves when the kernel knows it too, or has refused. */
  begin(): Promise<void> {
    this.#begun = true;
    this.#schedule();
    return this.#work;
  }

  stop(): void {
    this.#cancel?.();
    this.#begun = false;
  }

  #hear(key: string, action: ServiceAction): void {
    this.#options.metrics?.heard(action);
    if (!this.#heard.has(key)) this.#heard.set(key, { action, since: this.#options.clock.now() });
  }

  /** Changes of one turn are written together, and one after the other. */
  #schedule(): void {
    if (!this.#begun || this.#pending) return;
    this.#pending = true;
    this.#work = this.#work.then(() => {
      this.#pending = false;
      return this.#settle();
    });
  }

  async #settle(): Promise<void> {
    const balancer = this.#balancer;
    const { target, clock, onHealth, onError } = this.#options;
    const heard = [...this.#heard];
    const changes = balancer.changes();
    const { frontends, backends } = balancer;
    const table = balancer.tables();
    const health = balancer.health();
    try {
      if (this.#whole) {
        await target.apply({
          backends: { update: backends, delete: [] },
          frontends: { update: frontends, delete: [] },
          table,
        });
        await target.prune(frontends, backends);
        balancer.forgetUnclaimed();
        this.#whole = false;
      } else await target.apply({ ...changes, table });
      this.#implemented(heard);
      onHealth?.(health);
    } catch (error) {
      this.#whole = true;
      onError('services cannot be written to the kernel, trying again', error);
      this.#cancel?.();
      this.#cancel = clock.after(RETRY_MS, () => this.#schedule());
    }
  }

  #implemented(
    heard: readonly (readonly [string, { readonly action: ServiceAction; readonly since: number }])[],
  ): void {
    const { clock, metrics } = this.#options;
    for (const [key, change] of heard) {
      metrics?.implemented(change.action, clock.now() - change.since);
      if (this.#heard.get(key) === change) this.#heard.delete(key);
    }
  }
}
