import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { frame, FrameSplitter } from './framing.ts';

const message = fc.uint8Array({ minLength: 12, maxLength: 60 });

describe('TCP framing', () => {
  test('gives the messages back however the stream is cut', () => {
    fc.assert(
      fc.property(fc.array(message, { maxLength: 6 }), fc.array(fc.integer({ min: 1, max: 40 })), (messages, cuts) => {
        const stream = Buffer.concat(messages.map((each) => frame(each)));
        const splitter = new FrameSplitter();
        const found: Uint8Array[] = [];
        for (let at = 0, turn = 0; at < stream.length; turn++) {
          const next = at + (cuts.length === 0 ? stream.length : cuts[turn % cuts.length]!);
          splitter.push(stream.subarray(at, next), (each) => found.push(Uint8Array.from(each)));
          at = next;
        }
        assert.deepEqual(found, messages);
        assert.equal(splitter.idle && !splitter.broken, true);
      }),
    );
  });

  test('takes the largest message there is', () => {
    const largest = new Uint8Array(65535).fill(7);
    const splitter = new FrameSplitter();
    const sizes: number[] = [];
    const stream = frame(largest);
    splitter.push(stream.subarray(0, 40_000), (each) => sizes.push(each.length));
    assert.equal(splitter.idle, false);
    splitter.push(stream.subarray(40_000), (each) => sizes.push(each.length));
    assert.deepEqual(sizes, [65535]);
    assert.throws(() => frame(new Uint8Array(65536)), RangeError);
  });

  test('ends with a length that no message has', () => {
    const splitter = new FrameSplitter();
    splitter.push(Uint8Array.of(0, 5, 1, 2, 3, 4, 5), () => assert.fail('no message'));
    assert.equal(splitter.broken, true);
  });
});
