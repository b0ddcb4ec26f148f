import { median } from './suite.ts';

/** A median, and the interval in which it lies with a confidence of 95 %. */
export interface Estimate {
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

/**
 * Estimates a median from samples, whatever their distribution: how many of them lie below the true one is a matter of
 * tossing coins. With fewer than six samples the interval is all of them, which is less than 95 %.
 */
export function estimate(samples: readonly number[]): Estimate {
  const sorted = samples.toSorted((a, b) => a - b);
  const n = sorted.length;
  const beyond = Math.max(0, lowerTail(n, 0.025) - 1);
  return { median: median(sorted), low: sorted[beyond]!, high: sorted[n - 1 - beyond]! };
}

/** Least number of heads for which as many or fewer, of `n` coins, have a chance above `chance`. */
function lowerTail(n: number, chance: number): number {
  let heads = 0;
  let term = 0.5 ** n;
  for (let sum = term; sum <= chance; sum += term) {
    heads++;
    term *= (n - heads + 1) / heads;
  }
  return heads;
}

/** Estimates the ratio of two figures from rounds in which both were taken: `a[i] / b[i]`. */
export function ratio(a: readonly number[], b: readonly number[]): Estimate {
  return estimate(a.map((value, i) => value / b[i]!));
}

/** `0.97x (0.95–1.01)` */
export function ratioText({ median: middle, low, high }: Estimate, digits = 2): string {
  return `${middle.toFixed(digits)}x (${low.toFixed(digits)}–${high.toFixed(digits)})`;
}
