import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { JsonLines } from './json-lines.ts';

test('lines come whole, wherever the bytes are cut', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: 'grapheme' })), fc.array(fc.integer({ min: 1, max: 9 })), (texts, cuts) => {
      const bytes = Buffer.from(texts.map((text) => `${JSON.stringify({ text })}\n`).join(''));
      const lines = new JsonLines();
      const heard: unknown[] = [];
      for (let at = 0, turn = 0; at < bytes.length; turn++) {
        const next = at + (cuts[turn % Math.max(1, cuts.length)] ?? 3);
        heard.push(...lines.push(bytes.subarray(at, next)));
        at = next;
      }
      assert.deepEqual(
        heard,
        texts.map((text) => ({ text })),
      );
    }),
  );
});
