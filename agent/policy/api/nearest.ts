/**
 * The known name closest to what was written, or undefined when nothing is close: at most a third of the letters may
 * differ. Case never counts as a difference, a swap of two neighbours counts once.
 */
export function nearestName(written: string, known: readonly string[]): string | undefined {
  const wanted = written.toLowerCase();
  let best: { name: string; distance: number } | undefined;
  for (const name of known) {
    const limit = Math.min(
      best?.distance ?? Infinity,
      Math.max(1, Math.floor(Math.max(name.length, wanted.length) / 3)) + 1,
    );
    const distance = editDistance(wanted, name.toLowerCase());
    if (distance < limit) best = { name, distance };
  }
  return best?.name;
}

/** Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours. */
function editDistance(a: string, b: string): number {
  // A name that is absurdly long is near nothing; do not spend quadratic time on it.
  if (Math.abs(a.length - b.length) > 16 || a.length > 128) return Infinity;
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = last[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      const swap = swapped ? beforeLast[j - 2]! + 1 : Infinity;
      row.push(Math.min(last[j]! + 1, row[j - 1]! + 1, substitution, swap));
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length]!;
}
