/**
 * For tests that touch links, routes or sysctls: runs a test file again in a network namespace of its own, so that the
 * machine's network is left alone and everything goes away with the process, however it ends.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import path from 'node:path';
import { test } from 'node:test';

const INSIDE = 'WEIR_TEST_IN_OWN_NETNS';

/**
 * Whether this process is in a namespace of its own. If not, registers one test that runs `file` in one and passes when
 * that passes; the caller then registers nothing.
 */
export function inOwnNetns(file: string): boolean {
  if (process.env[INSIDE] === '1') return true;
  void test(`${path.basename(file)} in a network namespace of its own`, async () => {
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    const child = spawn('unshare', ['--net', '--', process.execPath, '--test-reporter=spec', file], {
      env: { ...env, [INSIDE]: '1' },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
    const status = await new Promise((resolve, reject) => child.on('error', reject).on('close', resolve));
    assert.equal(status, 0, output);
  });
  return false;
}
