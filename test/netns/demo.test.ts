/** The demo is a test: it exits non-zero if any verdict is not the expected one or anything is left behind. */
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { runAsync } from '../harness/exec.ts';

test('the demo shows what it promises', async () => {
  const demo = path.resolve(import.meta.dirname, '../demo/demo.ts');
  const { stdout, stderr, status } = await runAsync([process.execPath, demo]);
  assert.equal(status, 0, `${stdout}\n${stderr}`);
  assert.match(stdout, /every verdict was the expected one/);
});
