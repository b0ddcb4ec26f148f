/**
 * How long something that should happen may take, in milliseconds. A wait that succeeds costs nothing, so this is what no
 * machine exceeds, however slow and busy, unless the thing does not happen at all.
 */
export const PATIENCE_MS = 60_000;

/** How long a probe that should be answered waits, in milliseconds: connections, pings, queries. */
export const ANSWER_MS = 30_000;

/** How long a probe waits whose answer is not to come, in milliseconds: this much every such probe takes. */
export const SILENCE_MS = 500;

/**
 * Waits until `probe` gives something other than undefined or false, and returns it. The last error or value is in the
 * message when time runs out.
 *
 * @param everyMs the pause between two probes: longer for those that cost the process that is waited for
 */
export async function waitFor<T>(
  what: string,
  probe: () => T | Promise<T>,
  timeoutMs = PATIENCE_MS,
  everyMs = 10,
): Promise<Exclude<T, undefined | false>> {
  const deadline = Date.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      const value = await probe();
      if (value !== undefined && value !== false) return value as Exclude<T, undefined | false>;
      last = value;
    } catch (error) {
      last = error;
    }
    if (Date.now() > deadline) {
      throw new Error(
        `waited ${timeoutMs} ms for ${what}; last: ${last instanceof Error ? last.message : String(last)}`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}
