import type { EndpointId, IfIndex } from '../model/endpoint.ts';
import type { LoadedProgram } from '../kernel/bpf-object.ts';

/** An endpoint's programs, in the kernel as long as they are not disposed, or attached. */
export interface EndpointPrograms extends Disposable {
  program(name: string): LoadedProgram;
}

/** An endpoint whose programs are on its link as filters. */
export interface Unsettled {
  readonly id: EndpointId;
  readonly ifindex: IfIndex;
  readonly programs: EndpointPrograms;
}

export interface SettlingOptions {
  /** Has TCX hold the programs, then takes the filters away. */
  readonly settle: (one: Unsettled) => Promise<void>;
  /** Whether endpoints are being made, which come first: the kernel does one thing at a time. */
  readonly isBusy: () => boolean;
  readonly onError: (error: unknown) => void;
}

/** For how long an endpoint may stay unsettled while others are made without end, in milliseconds. */
const PATIENCE = 2000;

/**
 * Endpoints that are enforced by tc filters until TCX links hold their programs. A filter is there at once, but it can be
 * taken away by anybody and its program is not replaced without a gap; a TCX link makes the kernel wait for 8 to 16 ms under
 * its routing lock, twice for each endpoint. So an ADD is answered after the one, and the other follows.
 */
export class Settling implements Disposable {
  readonly #options: SettlingOptions;
  readonly #waiting = new Map<EndpointId, Unsettled & { readonly since: number }>();
  #running: Promise<void> | undefined;
  #closed = false;

  constructor(options: SettlingOptions) {
    this.#options = options;
  }

  /** The programs become this object's. */
  add(one: Unsettled): void {
    this.#waiting.set(one.id, { ...one, since: performance.now() });
  }

  get(id: EndpointId): Unsettled | undefined {
    return this.#waiting.get(id);
  }

  /** The endpoint is settled, or gone. */
  forget(id: EndpointId): void {
    const one = this.#waiting.get(id);
    this.#waiting.delete(id);
    one?.programs[Symbol.dispose]();
  }

  /** Settles one after the other. Resolves when each was tried, or there is something better to do. */
  run(): Promise<void> {
    this.#running ??= this.#run().finally(() => (this.#running = undefined));
    return this.#running;
  }

  async #run(): Promise<void> {
    const failed = new Set<Unsettled>();
    for (let next = this.#next(failed); next !== undefined; next = this.#next(failed)) {
      try {
        await this.#options.settle(next);
      } catch (error) {
        // Its filters go on enforcing; the next run tries again.
        failed.add(next);
        if (!this.#closed) this.#options.onError(error);
      }
    }
  }

  #next(failed: ReadonlySet<Unsettled>): Unsettled | undefined {
    const first = [...this.#waiting.values()].find((one) => !failed.has(one));
    if (first === undefined || this.#closed) return undefined;
    return this.#options.isBusy() && performance.now() - first.since < PATIENCE ? undefined : first;
  }

  /** Gives up descriptors, except of what is being settled; filters stay. */
  [Symbol.dispose](): void {
    this.#closed = true;
    void this.#running?.finally(() => this.#giveUp());
    if (this.#running === undefined) this.#giveUp();
  }

  #giveUp(): void {
    for (const id of [...this.#waiting.keys()]) this.forget(id);
  }
}
