import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { ensureBpffs, isBpffs, unmount } from './mount.ts';

test('a BPF file system is mounted once, folder and all, and found there again', () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'weir-mount-'));
  const target = path.join(folder, 'deep', 'bpf');
  try {
    assert.equal(ensureBpffs(target), true);
    assert.equal(ensureBpffs(target), false);
    assert.equal(isBpffs(target), true);
    // A folder on it is one already.
    assert.equal(ensureBpffs(path.join(target, 'weir')), false);
    unmount(target);
    assert.equal(isBpffs(target), false);
    assert.throws(() => unmount(target), { code: 'SYSCALL_FAILED', errno: 22 });
  } finally {
    if (existsSync(target) && isBpffs(target)) unmount(target);
    rmSync(folder, { recursive: true, force: true });
  }
});
