/** What the proxy counts, and where the time of queries goes. */
import { TIME_BUCKETS, type ProxyCounters, type TimeScope } from './contract.ts';

type Count = Exclude<keyof ProxyCounters, 'started' | 'times'>;

export class Counters {
  readonly #counts: Record<Count, number> = {
    received: 0,
    forwarded: 0,
    denied: 0,
    parseErrors: 0,
    timeouts: 0,
    overloaded: 0,
    deadlinesMissed: 0,
    unsolicited: 0,
    granted: 0,
  };
  readonly #times = emptyTimes();
  readonly #started = Date.now();
  #moved = false;

  add(count: Count, by = 1): void {
    this.#counts[count] += by;
    this.#moved = true;
  }

  /** @param ms milliseconds */
  took(scope: TimeScope, ms: number): void {
    const time = this.#times[scope];
    const seconds = ms / 1000;
    time.sum += seconds;
    let bucket = 0;
    while (bucket < TIME_BUCKETS.length && seconds > TIME_BUCKETS[bucket]!) bucket++;
    time.counts[bucket]!++;
  }

  /** The counters, when any has moved since the last time. */
  news(): ProxyCounters | undefined {
    if (!this.#moved) return undefined;
    this.#moved = false;
    return this.snapshot();
  }

  snapshot(): ProxyCounters {
    return { started: this.#started, ...this.#counts, times: structuredClone(this.#times) };
  }
}

function emptyTimes(): Record<TimeScope, { sum: number; readonly counts: number[] }> {
  const time = (): { sum: number; counts: number[] } => ({
    sum: 0,
    counts: new Array<number>(TIME_BUCKETS.length + 1).fill(0),
  });
  return {
    policyCheck: time(),
    upstream: time(),
    semaphore: time(),
    policyGeneration: time(),
    dataplane: time(),
    processing: time(),
    total: time(),
  };
}
