import assert from 'node:assert/strict';
import { test } from 'node:test';
import { reasonLines } from './failure.ts';

/** As the runner hands it on. */
const wrapped = (cause: unknown): Error =>
  Object.assign(new Error('wrapper', { cause }), { failureType: 'testCodeFailure' });

test('what a property test found is in the cause of its error, and both are shown', () => {
  const found = new Error('expected 1\ngot 2');
  const lines = reasonLines(wrapped(new Error('Property failed after 1 tests', { cause: found })), 40);
  assert.equal(lines[0], 'Error: Property failed after 1 tests');
  const at = lines.indexOf('because of Error: expected 1');
  assert.equal(lines[at + 1], 'got 2');
  assert.equal(lines.includes('wrapper'), false);
});

test('long reasons are shortened, each to its part, and say so', () => {
  const long = (what: string, cause?: Error): Error =>
    Object.assign(new Error(what, { cause }), {
      stack: Array.from({ length: 50 }, (_, i) => `${what} ${i}`).join('\n'),
    });
  const lines = reasonLines(wrapped(long('outer', long('inner'))), 40);
  assert.equal(lines.length, 40);
  assert.equal(lines[19], '… 31 lines more');
  assert.equal(lines[20], 'because of inner 0');
});

test('what is no error is shown as it is', () => {
  assert.deepEqual(reasonLines(wrapped('no luck'), 40), ['no luck']);
});
