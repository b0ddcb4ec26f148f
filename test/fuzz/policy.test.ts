/** A fixed sample of what `npm run fuzz -- policy` runs at length. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fuzzPolicy } from './policy.ts';

const CASES = 300;

test(`${CASES} random histories of the policy engine`, () => {
  for (let seed = 1; seed <= CASES; seed++) {
    const failed = fuzzPolicy(seed);
    assert.equal(failed, undefined, `seed ${seed}: ${failed?.error.message} for ${JSON.stringify(failed?.smallest)}`);
  }
});
