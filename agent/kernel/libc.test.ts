import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import type { KoffiFunc } from 'koffi';
import { errno, libc } from './libc.ts';

const close = libc.func('int close(int fd)') as KoffiFunc<(fd: number) => number>;
const EBADF = 9;

test('the error number is that of the call, whatever the engine does of its own accord meanwhile', () => {
  setFlagsFromString('--gc-interval=7');
  try {
    const seen = new Set<number>();
    for (let i = 0; i < 20_000; i++) {
      const result = close(-1);
      if (result < 0) seen.add(errno());
    }
    assert.deepEqual([...seen], [EBADF]);
  } finally {
    setFlagsFromString('--gc-interval=-1');
  }
});
