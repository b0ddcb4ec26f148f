/** A time limit that a machine's own standstill does not use up. */

const TICK_MS = 20;

interface Countdown {
  /** When it is over, on the clock of {@link heard}. */
  readonly at: number;
  readonly over: () => void;
}

/**
 * Milliseconds in which this process could have heard answers. When a process gets to run again after a standstill, its timers
 * are due before it reads what has arrived meanwhile: however late a tick is, it counts as one.
 */
let heard = 0;
/** One clock for all of them: a process may have hundreds of probes under way. */
const running = new Set<Countdown>();
let clock: NodeJS.Timeout | undefined;

/**
 * Calls `over` when `ms` have passed in which this process could have heard an answer.
 *
 * @returns what ends it early
 */
export function countdown(ms: number, over: () => void): () => void {
  // The tick that is under way has begun before.
  const countdown = { at: heard + ms + TICK_MS, over };
  running.add(countdown);
  clock ??= setInterval(tick, TICK_MS);
  return () => end(countdown);
}

function tick(): void {
  heard += TICK_MS;
  for (const countdown of running) {
    if (countdown.at > heard) continue;
    // What has arrived is read first, and may end it.
    setTimeout(() => {
      if (!running.has(countdown)) return;
      end(countdown);
      countdown.over();
    }, 1);
  }
}

function end(countdown: Countdown): void {
  running.delete(countdown);
  if (running.size > 0) return;
  clearInterval(clock);
  clock = undefined;
}
