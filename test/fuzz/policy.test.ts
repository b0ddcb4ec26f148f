/** A fixed sample of what `npm run fuzz -- policy` runs at length. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fuzzPolicy } from './policy.ts';
import { PolicyKernel } from './policy-kernel.ts';

const CASES = 300;

/** Seeds that have found something once. */
const KNOWN = [3705, 10843, 24454, 69248];

let kernel: PolicyKernel;
before(async () => {
  kernel = await PolicyKernel.start();
});
after(() => kernel[Symbol.dispose]());

test(`${CASES} random histories of the policy engine`, async () => {
  for (const seed of [...KNOWN, ...Array.from({ length: CASES }, (_, i) => i + 1)]) {
    const failed = await fuzzPolicy(seed, kernel);
    assert.equal(failed, undefined, `seed ${seed}: ${failed?.error.message} for ${JSON.stringify(failed?.smallest)}`);
  }
});
