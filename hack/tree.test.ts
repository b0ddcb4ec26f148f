/** `npm run check` is part of `npm test`: types, format, lint, layers, generated files, docs. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { test } from 'node:test';

test('the tree passes every check', () => {
  const root = path.resolve(import.meta.dirname, '..');
  const { status, stdout, stderr } = spawnSync(process.execPath, ['hack/check.ts'], { cwd: root, encoding: 'utf8' });
  assert.equal(status, 0, `${stdout}\n${stderr}`);
});
