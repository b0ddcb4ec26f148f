/** What a killed test run leaves behind is told from what a living one uses, and from what is not ours. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { isOrphan, uniqueName } from '../test/harness/run.ts';

test('names of processes that are gone are orphans, all others are not', () => {
  const { pid } = spawnSync('true');
  assert.equal(isOrphan(`weirt-${pid}-123-1-node`), true);
  assert.equal(isOrphan(`weir-test-${pid}-0a1b2c`), true);
  assert.equal(isOrphan(`weirt-${process.pid}-1-1-node`), true, 'the number of a process of another start');
  assert.equal(isOrphan(uniqueName('node')), false);
  assert.equal(isOrphan(`weir-test-${process.pid}-0a1b2c`), false);
  for (const name of ['weir', 'weir-agent', `weir-test-${pid}`, 'cni-1234', '']) assert.equal(isOrphan(name), false);
});
