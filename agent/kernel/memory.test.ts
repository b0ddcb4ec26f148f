import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import type { KoffiFunc } from 'koffi';
import { libc } from './libc.ts';
import { keep, memory } from './memory.ts';

const memcmp = libc.func('int memcmp(uint64 a, const void *b, size_t bytes)') as KoffiFunc<
  (a: bigint, b: Uint8Array, bytes: number) => number
>;

const SIZE = 64;
const PATTERN = new Uint8Array(SIZE).fill(0xaa);

/** Whether the bytes at the address of new memory are what was written, seen from outside as the kernel sees them. */
function written(): boolean {
  const own = memory(SIZE);
  own.bytes.set(PATTERN);
  const { address } = own;
  // Room for a collection between the last mention of the bytes and the call.
  for (let i = 0; i < 50; i++) memory(8);
  const same = memcmp(address, PATTERN, SIZE) === 0;
  keep(own);
  return same;
}

test('memory that is kept outlives a collection before the call that uses its address', () => {
  setFlagsFromString('--gc-interval=37');
  try {
    let lost = 0;
    for (let i = 0; i < 20_000; i++) if (!written()) lost++;
    assert.equal(lost, 0);
  } finally {
    setFlagsFromString('--gc-interval=-1');
  }
});
