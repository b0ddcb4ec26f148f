import type { Clock } from '../../model/clock.ts';

/** Lets so many through at once, and after that so many a second, in the order in which they came. */
export class WriteLimiter {
  readonly #clock: Clock;
  readonly #intervalMs: number;
  readonly #burst: number;
  /** When the bucket would be full again if nobody came: milliseconds since the epoch. */
  #fullAt: number;

  constructor(options: { readonly clock: Clock; readonly qps: number; readonly burst: number }) {
    this.#clock = options.clock;
    this.#intervalMs = 1000 / options.qps;
    this.#burst = options.burst;
    this.#fullAt = options.clock.now();
  }

  /** Resolves when the caller may go on. */
  async take(): Promise<void> {
    const now = this.#clock.now();
    this.#fullAt = Math.max(this.#fullAt, now) + this.#intervalMs;
    const wait = this.#fullAt - now - this.#burst * this.#intervalMs;
    if (wait > 0) await new Promise<void>((resolve) => this.#clock.after(Math.ceil(wait), resolve));
  }
}
