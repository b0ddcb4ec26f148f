/** One bench: prints its own table, with ratios against a baseline that it takes in the same run. */
export interface Bench {
  readonly name: string;
  readonly title: string;
  run(print: (line: string) => void, options: BenchOptions): Promise<void>;
}

export interface BenchOptions {
  /** One round of everything: to see that the bench works, not to measure. */
  readonly quick: boolean;
  /** Of benches that take several measures on paths: those whose name has this in it. */
  readonly only?: string | undefined;
}

/** The `share`th of some numbers, the smallest first: 0.99 is what all but the worst hundredth stay within. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? NaN;
}

/** Median of some numbers. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** `0.97x (0.91-1.03)`: median and spread of pairwise ratios `a[i] / b[i]`. */
export function ratios(a: readonly number[], b: readonly number[]): string {
  const pairs = a.map((value, i) => value / b[i]!);
  const [low, high] = [Math.min(...pairs), Math.max(...pairs)];
  return `${median(pairs).toFixed(2)}x (${low.toFixed(2)}-${high.toFixed(2)})`;
}
