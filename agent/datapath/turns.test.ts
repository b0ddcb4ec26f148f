import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { Turns } from './turns.ts';

test('work on one key takes turns, also after a failure; other keys do not wait', async () => {
  const turns = new Turns<string>();
  const log: string[] = [];
  const work =
    (name: string, fails = false) =>
    async () => {
      log.push(`${name} begins`);
      await setImmediate();
      log.push(`${name} ends`);
      if (fails) throw new Error(name);
    };
  const first = turns.run('a', work('a1', true));
  const second = turns.run('a', work('a2'));
  const other = turns.run('b', work('b1'));
  await assert.rejects(first, /a1/);
  await Promise.all([second, other]);
  assert.deepEqual(
    log.filter((line) => line.startsWith('a')),
    ['a1 begins', 'a1 ends', 'a2 begins', 'a2 ends'],
  );
  assert.ok(log.indexOf('b1 begins') < log.indexOf('a1 ends'));
});
