import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { MAGLEV_SIZES } from '../model/service.ts';
import { maglevTable } from './maglev.ts';

const SIZE = 1021;
const names = fc.uniqueArray(
  fc.ipV4().map((ip) => `${ip}:8080/TCP`),
  { minLength: 1, maxLength: 40 },
);

/** Names instead of indices. */
const named = (list: readonly string[], size = SIZE): string[] => [...maglevTable(list, size)].map((i) => list[i]!);

describe("Maglev's table", () => {
  test('gives each backend its share, the largest at most one place more than the smallest', () => {
    fc.assert(
      fc.property(names, fc.constantFrom(251, SIZE), (list, size) => {
        const shares = new Map(list.map((name) => [name, 0]));
        for (const name of named(list, size)) shares.set(name, shares.get(name)! + 1);
        const counts = [...shares.values()];
        assert.ok(Math.max(...counts) - Math.min(...counts) <= 1, counts.join());
      }),
    );
  });

  test('is the same in whatever order the backends are named', () => {
    fc.assert(fc.property(names, (list) => assert.deepEqual(named(list.toReversed()), named(list))));
  });

  test('changes little when a backend goes: its own places, and few others', () => {
    fc.assert(
      fc.property(names, fc.nat(), (list, pick) => {
        fc.pre(list.length > 1);
        const gone = list[pick % list.length]!;
        const before = named(list);
        const after = named(list.filter((name) => name !== gone));
        assert.ok(!after.includes(gone));
        const moved = before.filter((name, place) => name !== gone && name !== after[place]).length;
        // The paper measures a few per cent; taking places modulo the number of backends would move nearly all of them.
        assert.ok(moved <= SIZE * 0.25, `${moved} of ${SIZE}`);
      }),
    );
  });

  test('of the default size moves below three per cent of the others when one backend of a hundred goes', () => {
    const list = Array.from({ length: 100 }, (_, i) => `10.0.${i}.1:80/TCP`);
    const [before, after] = [named(list, 16381), named(list.slice(1), 16381)];
    const moved = before.filter((name, place) => name !== list[0] && name !== after[place]).length;
    assert.ok(moved < 16381 * 0.03, `${moved}`);
  });

  test('has places for nobody when there is nobody', () => {
    assert.ok(maglevTable([], 251).every((index) => index === -1));
  });

  test('comes in primes', () => {
    for (const size of MAGLEV_SIZES) {
      for (let i = 2; i * i <= size; i++) assert.notEqual(size % i, 0, `${size} = ${i} × …`);
    }
  });
});
