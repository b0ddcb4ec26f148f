/**
 * Runs `apply` on all of `items`; when that fails, on ever smaller halves, so that one bad object does not hold back the
 * others and each failure is laid at its own object's door. Relies on `apply` being idempotent.
 *
 * @param budget failed calls after which the rest is not tried any further: when the target as a whole is broken, asking
 *   it about each of half a million objects helps nobody
 * @returns the items that failed, each with its error
 */
export async function applyBisecting<T>(
  items: readonly T[],
  apply: (items: readonly T[]) => Promise<void>,
  budget: number,
): Promise<(readonly [T, unknown])[]> {
  const failed: (readonly [T, unknown])[] = [];
  const queue: (readonly T[])[] = items.length === 0 ? [] : [items];
  let failures = 0;
  for (let part = queue.shift(); part !== undefined; part = queue.shift()) {
    try {
      await apply(part);
    } catch (error) {
      failures++;
      if (part.length > 1 && failures < budget) {
        const middle = part.length >> 1;
        queue.push(part.slice(0, middle), part.slice(middle));
      } else for (const item of part) failed.push([item, error]);
    }
  }
  return failed;
}
