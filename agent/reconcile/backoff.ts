/** Bounds of an exponential backoff, in milliseconds. */
export interface BackoffOptions {
  readonly initialMs: number;
  readonly maximumMs: number;
  /** Growth from one attempt to the next. */
  readonly factor: number;
  /** Share of the delay that is random, 0 to 1, so that objects that failed together do not come back together. */
  readonly jitter: number;
}

export const DEFAULT_BACKOFF: BackoffOptions = { initialMs: 100, maximumMs: 60_000, factor: 2, jitter: 0.3 };

/**
 * Milliseconds to wait after the `attempts`-th failure in a row (1 is the first).
 *
 * @param random a number in [0, 1), as Math.random gives
 */
export function backoffDelay(attempts: number, options: BackoffOptions, random: number): number {
  const raw = Math.min(options.maximumMs, options.initialMs * options.factor ** (attempts - 1));
  return Math.round(raw * (1 - options.jitter * random));
}
