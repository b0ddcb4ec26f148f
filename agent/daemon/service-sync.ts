import { LoadBalancer } from '../loadbalancer/loadbalancer.ts';
import type { LbNode, LbService, LbSlice } from '../loadbalancer/service.ts';
import type { Clock } from '../model/clock.ts';
import type { LbTarget } from '../model/service.ts';

/** When the kernel refused: how long until everything is written again, in milliseconds. */
const RETRY_MS = 5_000;

export interface ServiceSyncOptions {
  readonly node: LbNode;
  readonly target: LbTarget;
  readonly clock: Clock;
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

  private constructor(options: ServiceSyncOptions, balancer: LoadBalancer) {
    this.#options = options;
    this.#balancer = balancer;
  }

  /** @throws WeirError BPF_MAP_FAILED */
  static async open(options: ServiceSyncOptions): Promise<ServiceSync> {
    return new ServiceSync(options, new LoadBalancer(options.node, await options.target.known()));
  }

  setService(namespace: string, name: string, service: LbService | undefined): void {
    this.#balancer.setService(namespace, name, service);
    this.#schedule();
  }

  setSlice(namespace: string, name: string, slice: LbSlice | undefined): void {
    this.#balancer.setSlice(namespace, name, slice);
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
    const { target, clock, onError } = this.#options;
    const changes = balancer.changes();
    const { frontends, backends } = balancer;
    try {
      if (!this.#whole) {
        await target.apply(changes);
        return;
      }
      await target.apply({ backends: { update: backends, delete: [] }, frontends: { update: frontends, delete: [] } });
      await target.prune(frontends, backends);
      balancer.forgetUnclaimed();
      this.#whole = false;
    } catch (error) {
      this.#whole = true;
      onError('services cannot be written to the kernel, trying again', error);
      this.#cancel?.();
      this.#cancel = clock.after(RETRY_MS, () => this.#schedule());
    }
  }
}
