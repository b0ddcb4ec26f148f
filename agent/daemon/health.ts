import type { Status } from '../api/models.ts';
import type { ApiPhase } from '../api/server/contract.ts';
import type { Clock } from '../model/clock.ts';

/** How the agent is, in words. */
export class Health {
  readonly #clock: Clock;
  #phase: ApiPhase = 'starting';
  #readySince: number | undefined;
  #resources = (): Status => ({ state: 'Warning', msg: 'resources have not come in yet' });
  #kvstore = (): Status => ({ state: 'Disabled' });
  /** Objects that were rejected, by name. */
  readonly #rejected = new Set<string>();
  /** What of policies in force is not enforced, by object. */
  readonly #gaps = new Map<string, readonly string[]>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get phase(): ApiPhase {
    return this.#phase;
  }

  /** Milliseconds since the Unix epoch. */
  get readySince(): number | undefined {
    return this.#readySince;
  }

  enter(phase: ApiPhase): void {
    this.#phase = phase;
    if (phase === 'ready') this.#readySince = this.#clock.now();
  }

  /** @param status asked each time: how an API server stands changes */
  setResources(status: () => Status): void {
    this.#resources = status;
  }

  /** @param status asked each time */
  setKvstore(status: () => Status): void {
    this.#kvstore = status;
  }

  kvstore(): Status {
    return this.#kvstore();
  }

  resources(): Status {
    const status = this.#resources();
    if (this.#rejected.size === 0) return status;
    // What a user wrote wrong is the user's to correct: the agent itself is well.
    return { ...status, msg: `${status.msg ?? ''} (rejected: ${[...this.#rejected].join(', ')})` };
  }

  /** Notes whether an object, by name, stands rejected. */
  setRejected(name: string, rejected: boolean): void {
    if (rejected) this.#rejected.add(name);
    else this.#rejected.delete(name);
  }

  /** What of policies in force this node cannot enforce, by object. */
  get gaps(): ReadonlyMap<string, readonly string[]> {
    return this.#gaps;
  }

  /** Notes what of an object is not enforced. @returns whether that is news */
  setGaps(name: string, gaps: readonly string[]): boolean {
    const known = this.#gaps.get(name)?.join() ?? '';
    if (gaps.length === 0) this.#gaps.delete(name);
    else this.#gaps.set(name, gaps);
    return known !== gaps.join();
  }

  status(): Status {
    if (this.#phase === 'starting') return { state: 'Failure', msg: 'restoring endpoints' };
    if (this.#phase === 'restored') return { state: 'Failure', msg: 'waiting for resources, then enforcing' };
    return { state: 'Ok', msg: 'ready' };
  }
}
