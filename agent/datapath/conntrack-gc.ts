import type { Clock } from '../model/clock.ts';
import type { Collection, Connection, ConntrackMap } from './maps/conntrack.ts';

export interface ConntrackGcOptions {
  readonly maps: readonly Pick<ConntrackMap, 'collect'>[];
  readonly clock: Clock;
  /** Nanoseconds of CLOCK_MONOTONIC, by which the kernel's entries expire. */
  readonly monotonic: () => bigint;
  readonly intervalMs: number;
  /** Hears of each collection: how many connections live, how many went, when it began. */
  readonly onCollected?: (collection: Collection, startedAt: number) => void;
  /**
   * A collection begins. What this returns hears of each connection that lives on: DNS zombies hang on them (S31). To read
   * connections takes time: undefined when nobody wants to hear.
   */
  readonly onBegin?: (startedAt: number) => ((connection: Connection) => void) | undefined;
  readonly onError: (error: unknown) => void;
}

/** Deletes expired connections every so often; the next collection is due an interval after the end of the last. */
export class ConntrackGc {
  readonly #options: ConntrackGcOptions;
  #cancel: (() => void) | undefined;
  #running: Promise<Collection> | undefined;
  #stopped = false;

  constructor(options: ConntrackGcOptions) {
    this.#options = options;
  }

  start(): void {
    this.#stopped = false;
    this.#schedule();
  }

  /** Resolves when no collection is under way any more. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel?.();
    try {
      await this.#running;
    } catch (error) {
      this.#options.onError(error);
    }
  }

  /** Collects now, or joins the collection that is under way. @throws WeirError BPF_MAP_FAILED */
  collect(): Promise<Collection> {
    this.#running ??= this.#collect().finally(() => (this.#running = undefined));
    return this.#running;
  }

  async #collect(): Promise<Collection> {
    const { maps, clock, monotonic, onBegin, onCollected } = this.#options;
    const startedAt = clock.now();
    const onAlive = onBegin?.(startedAt);
    const total = { alive: 0, deleted: 0 };
    for (const map of maps) {
      const { alive, deleted } = await map.collect(monotonic(), onAlive);
      total.alive += alive;
      total.deleted += deleted;
    }
    onCollected?.(total, startedAt);
    return total;
  }

  #schedule(): void {
    if (this.#stopped) return;
    this.#cancel = this.#options.clock.after(this.#options.intervalMs, () => {
      this.collect()
        .catch(this.#options.onError)
        .finally(() => this.#schedule());
    });
  }
}
