/** When to ask an API server again. */
import type { Clock } from '../../model/clock.ts';
import { ApiRefusal } from './client.ts';

const FIRST_MS = 200;

/** Short, because an agent that is cut off is late for policies; the jitter keeps a cluster's agents apart. */
const LONGEST_MS = 15_000;

/**
 * Milliseconds to wait after the `attempts`-th failure in a row (1 is the first): at least what the server asked for.
 *
 * @param random a number in [0, 1)
 * @param longest milliseconds, but for what the server asks for
 */
export function retryDelay(error: unknown, attempts: number, random: number, longest = LONGEST_MS): number {
  const raw = Math.min(longest, FIRST_MS * 2 ** Math.max(0, attempts - 1));
  const asked = error instanceof ApiRefusal ? (error.retryAfterMs ?? 0) : 0;
  return asked + Math.round(raw * (1 - 0.5 * random));
}

/** Resolves after `ms` milliseconds, or at the signal. */
export function delay(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
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
