/** A time limit that a machine's own standstill does not use up. */

const TICK_MS = 20;

/**
 * Calls `over` when `ms` have passed in which this process could have heard an answer. When a process gets to run again
 * after a standstill, its timers are due before it reads what has arrived meanwhile: a plain timer would call that silence.
 *
 * @returns what ends it early
 */
export function countdown(ms: number, over: () => void): () => void {
  let left = ms;
  let timer: NodeJS.Timeout;
  const next = (): void => {
    const tick = Math.min(TICK_MS, left);
    timer = setTimeout(() => {
      left -= tick;
      // However late this is: what has arrived is read first.
      if (left > 0) next();
      else timer = setTimeout(over, 1);
    }, tick);
  };
  next();
  return () => clearTimeout(timer);
}
