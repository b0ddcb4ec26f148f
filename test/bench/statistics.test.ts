import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { estimate, ratio, ratioText } from './statistics.ts';
import { median } from './suite.ts';

describe('statistics of benches', () => {
  test('median', () => {
    assert.equal(median([3, 1, 2]), 2);
    assert.equal(median([4, 1, 3, 2]), 2.5);
  });

  test('the interval of a median is that of the sign test', () => {
    const samples = (n: number): number[] => Array.from({ length: n }, (_, i) => i + 1);
    const interval = (n: number): [number, number] => {
      const { low, high } = estimate(samples(n));
      return [low, high];
    };
    // From tables of the binomial distribution: ranks 1 and 6, 2 and 8 of 9, 4 and 12 of 15, 10 and 21 of 30.
    assert.deepEqual(interval(6), [1, 6]);
    assert.deepEqual(interval(9), [2, 8]);
    assert.deepEqual(interval(15), [4, 12]);
    assert.deepEqual(interval(30), [10, 21]);
    assert.deepEqual(interval(3), [1, 3]);
    assert.deepEqual(interval(1), [1, 1]);
  });

  test('ratios are taken round by round: a drift of the machine falls on both', () => {
    assert.deepEqual(ratio([2, 20, 200], [1, 10, 100]), { median: 2, low: 2, high: 2 });
    assert.equal(ratioText({ median: 0.974, low: 0.9, high: 1.123 }), '0.97x (0.90–1.12)');
    assert.equal(ratioText({ median: 1, low: 0.9984, high: 1.0016 }, 3), '1.000x (0.998–1.002)');
  });
});
