import type { Address } from '../../model/address.ts';
import type { Clock } from '../../model/clock.ts';
import { endpointId } from '../../model/endpoint.ts';

/** Who learns what the node asked for: no pod has this number. */
export const NODE_ENDPOINT = endpointId(0);

export interface PolledAnswer {
  /** Empty: the name has none, or does not exist. */
  readonly addresses: readonly Address[];
  /** Seconds. */
  readonly ttl: number;
}

/** Asks for a canonical name; rejects when nobody answers. */
export type ResolveName = (name: string) => Promise<PolledAnswer>;

/** Between two questions for a name, in milliseconds: at least, when there is no answer, and at most. */
const [SOONEST_MS, AGAIN_MS, LATEST_MS] = [2_000, 5_000, 3_600_000] as const;
/** So much longer than until the next question a lease lasts, in seconds: the answer takes its time. */
const SLACK = 15;

export interface NamePollerOptions {
  readonly clock: Clock;
  readonly resolve: ResolveName;
  readonly learn: (name: string, addresses: readonly Address[], ttl: number) => void;
  /** A name could not be asked for; it is tried again, and what is known of it ends with its TTL. */
  readonly onError: (name: string, error: unknown) => void;
}

/** Asks for names on their TTL, because policies admit whoever has their addresses (`fromFQDNs`). */
export class NamePoller {
  readonly #options: NamePollerOptions;
  /** What ends the asking for each name. */
  readonly #names = new Map<string, AbortController>();

  constructor(options: NamePollerOptions) {
    this.#options = options;
  }

  /** Canonical names that are asked for. */
  get names(): readonly string[] {
    return [...this.#names.keys()];
  }

  /** Asks for these from now on, and for no others. */
  follow(names: readonly string[]): void {
    const wanted = new Set(names);
    for (const [name, ended] of this.#names) {
      if (wanted.has(name)) continue;
      this.#names.delete(name);
      ended.abort();
    }
    for (const name of wanted) {
      if (this.#names.has(name)) continue;
      const ended = new AbortController();
      this.#names.set(name, ended);
      void this.#ask(name, ended.signal, 0);
    }
  }

  stop(): void {
    this.follow([]);
  }

  async #ask(name: string, ended: AbortSignal, failures: number): Promise<void> {
    const { resolve, learn, onError } = this.#options;
    try {
      const { addresses, ttl } = await resolve(name);
      if (ended.aborted) return;
      // A name without addresses may get some: it is asked for again before long.
      const wait = Math.min(Math.max(addresses.length === 0 ? AGAIN_MS : ttl * 1000, SOONEST_MS), LATEST_MS);
      learn(name, addresses, Math.ceil(wait / 1000) + SLACK);
      this.#askAgain(name, ended, wait, 0);
    } catch (error) {
      if (ended.aborted) return;
      if (failures === 0) onError(name, error);
      this.#askAgain(name, ended, Math.min(AGAIN_MS * 2 ** failures, 60_000), failures + 1);
    }
  }

  #askAgain(name: string, ended: AbortSignal, wait: number, failures: number): void {
    const cancel = this.#options.clock.after(wait, () => void this.#ask(name, ended, failures));
    ended.addEventListener('abort', cancel, { once: true });
  }
}
