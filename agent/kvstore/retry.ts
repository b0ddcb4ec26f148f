/** When to ask a key-value store again. */
import type { Clock } from '../model/clock.ts';
import { backoffDelay, type BackoffOptions } from '../reconcile/backoff.ts';

/** Short at its longest: what nodes tell each other waits for it. The jitter keeps a cluster's agents apart. */
export const BACKOFF: BackoffOptions = { initialMs: 100, maximumMs: 5_000, factor: 2, jitter: 0.5 };

/** Resolves after the wait that the `attempts`-th failure in a row asks for, or at the signal. */
export function backOff(clock: Clock, attempts: number, signal: AbortSignal): Promise<void> {
  return pause(clock, backoffDelay(attempts, BACKOFF, Math.random()), signal);
}

/** Resolves after `ms` milliseconds, or at the signal. */
export function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    const done = (): void => {
      cancel();
      signal.removeEventListener('abort', done);
      resolve();
    };
    const cancel = clock.after(ms, done);
    signal.addEventListener('abort', done);
  });
}
