import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { backoffDelay, DEFAULT_BACKOFF } from './backoff.ts';

test('delays double up to the maximum', () => {
  const delays = [1, 2, 3, 20].map((attempts) => backoffDelay(attempts, DEFAULT_BACKOFF, 0));
  assert.deepEqual(delays, [100, 200, 400, 60_000]);
});

test('jitter only ever shortens a delay, by its share at most', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 2000 }),
      fc.double({ min: 0, max: 0.999, noNaN: true }),
      (attempts, random) => {
        const full = backoffDelay(attempts, DEFAULT_BACKOFF, 0);
        const delay = backoffDelay(attempts, DEFAULT_BACKOFF, random);
        assert.ok(delay <= full && delay >= Math.floor(full * (1 - DEFAULT_BACKOFF.jitter)));
      },
    ),
  );
});
