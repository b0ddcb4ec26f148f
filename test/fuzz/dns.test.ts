/** A fixed sample of what `npm run fuzz -- dns` runs at length, and every message that was ever found wanting. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { checkMessage, fuzzDns } from './dns.ts';

const CASES = 20_000;

test(`${CASES} DNS messages, most of them damaged`, () => {
  for (let seed = 1; seed <= CASES; seed++) {
    const failed = fuzzDns(seed);
    assert.equal(failed, undefined, `seed ${seed}: ${failed?.error.message} for ${failed?.message}`);
  }
});

test('the corpus', () => {
  const lines = readFileSync(path.join(import.meta.dirname, 'corpus/dns.txt'), 'utf8').split('\n');
  const messages = lines.filter((line) => line !== '' && !line.startsWith('#'));
  assert.ok(messages.length > 0);
  for (const hex of messages) checkMessage(Uint8Array.from(Buffer.from(hex, 'hex')));
});
