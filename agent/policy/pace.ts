/** Work between two turns of the event loop, in units of roughly a quarter of a microsecond: some two milliseconds. */
const BUDGET = 8_000;

/**
 * Tells a long computation when to let others run. Work is counted and not timed: what is one piece on one machine is one
 * piece on all, and tests can say how large a piece may be.
 */
export class Pace {
  /** The most that was done in one go. */
  longest = 0;
  readonly #budget: number;
  #spent = 0;

  constructor(budget = BUDGET) {
    this.#budget = budget;
  }

  /** Adds work; true when it is time to yield. */
  due(units: number): boolean {
    this.#spent += units;
    if (this.#spent > this.longest) this.longest = this.#spent;
    if (this.#spent < this.#budget) return false;
    this.#spent = 0;
    return true;
  }

  /** A piece begins. */
  restart(): void {
    this.#spent = 0;
  }
}

/** Does all of it in one go. */
export function drained<T>(work: Generator<void, T, void>): T {
  for (;;) {
    const { done, value } = work.next();
    if (done === true) return value;
  }
}

const RUN = 512;

/** Sorts in slices: runs at a time, which are then merged in pairs. */
export function* sorting<T>(
  items: readonly T[],
  compare: (a: T, b: T) => number,
  pace: Pace,
): Generator<void, readonly T[], void> {
  let runs: (readonly T[])[] = [];
  for (let at = 0; at < items.length; at += RUN) {
    runs.push(items.slice(at, at + RUN).sort(compare));
    if (pace.due(8 * RUN)) yield;
  }
  while (runs.length > 1) {
    const merged: (readonly T[])[] = [];
    for (let at = 0; at < runs.length; at += 2) {
      const [a, b = []] = runs.slice(at, at + 2) as [readonly T[], (readonly T[])?];
      merged.push(mergeRuns(a, b, compare));
      if (pace.due(a.length + b.length)) yield;
    }
    runs = merged;
  }
  return runs[0] ?? [];
}

function mergeRuns<T>(a: readonly T[], b: readonly T[], compare: (a: T, b: T) => number): readonly T[] {
  const out: T[] = [];
  let [i, j] = [0, 0];
  while (i < a.length && j < b.length) out.push(compare(a[i]!, b[j]!) <= 0 ? a[i++]! : b[j++]!);
  while (i < a.length) out.push(a[i++]!);
  while (j < b.length) out.push(b[j++]!);
  return out;
}
