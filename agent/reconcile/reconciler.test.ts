import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { ManualClock } from '../model/manual-clock.ts';
import { Reconciler, type ReconcilerOptions } from './reconciler.ts';
import type { ObjectType, Target } from './target.ts';

interface Item {
  readonly key: string;
  readonly value: number;
}

const itemType: ObjectType<Item, string> = {
  keyOf: (item) => item.key,
  keyText: (key) => key,
  equals: (a, b) => a.value === b.value,
};

/** A target in memory whose calls fail when told to, half-applied as a kernel batch is. */
class FakeTarget implements Target<Item, string> {
  readonly held = new Map<string, number>();
  readonly calls: string[] = [];
  /** Says of each object about to be written or deleted whether that fails. */
  fails: (key: string) => boolean = () => false;

  async update(items: readonly Item[]): Promise<void> {
    this.calls.push(`update ${items.map((item) => item.key).join(' ')}`);
    await Promise.resolve();
    for (const item of items) {
      if (this.fails(item.key)) throw new Error(`cannot write ${item.key}`);
      this.held.set(item.key, item.value);
    }
  }

  async delete(keys: readonly string[]): Promise<void> {
    this.calls.push(`delete ${keys.join(' ')}`);
    await Promise.resolve();
    for (const key of keys) {
      if (this.fails(key)) throw new Error(`cannot delete ${key}`);
      this.held.delete(key);
    }
  }

  async prune(desired: readonly Item[]): Promise<void> {
    this.calls.push('prune');
    await Promise.resolve();
    const wanted = new Set(desired.map((item) => item.key));
    for (const key of this.held.keys()) if (!wanted.has(key)) this.held.delete(key);
  }
}

function setUp(extra: Partial<ReconcilerOptions<Item, string>> = {}) {
  const clock = new ManualClock();
  const target = new FakeTarget();
  const reconciler = new Reconciler({ target, type: itemType, clock, random: () => 0, ...extra });
  return { clock, target, reconciler };
}

describe('Reconciler', () => {
  test('gathers changes into one batch, updates before deletes', async () => {
    const { clock, target, reconciler } = setUp({ coalesceMs: 10 });
    reconciler.set({ key: 'a', value: 1 });
    await clock.advance(10);
    reconciler.set({ key: 'b', value: 1 });
    reconciler.delete('a');
    reconciler.set({ key: 'c', value: 1 });
    assert.deepEqual(reconciler.counts(), { done: 0, pending: 3, failed: 0 });
    await clock.advance(10);
    assert.deepEqual(target.calls, ['update a', 'update b c', 'delete a']);
    assert.deepEqual(reconciler.counts(), { done: 2, pending: 0, failed: 0 });
  });

  test('a change taken back in time, or to the same value, calls nobody', async () => {
    const { clock, target, reconciler } = setUp({ coalesceMs: 10 });
    reconciler.set({ key: 'a', value: 1 });
    reconciler.delete('a');
    reconciler.delete('never-there');
    await clock.advance(10);
    assert.deepEqual(target.calls, []);
    reconciler.set({ key: 'a', value: 1 });
    await reconciler.flush();
    reconciler.set({ key: 'a', value: 1 });
    reconciler.set({ key: 'a', value: 2 });
    reconciler.set({ key: 'a', value: 1 });
    await clock.advance(10);
    assert.deepEqual(target.calls, ['update a']);
  });

  test('one object that fails does not hold back the others, and is retried with growing delays', async () => {
    const failures: number[] = [];
    const { clock, target, reconciler } = setUp({ onFailure: (_key, status) => failures.push(status.attempts) });
    target.fails = (key) => key === 'bad';
    for (const key of ['a', 'bad', 'b', 'c']) reconciler.set({ key, value: 1 });
    await reconciler.flush();
    assert.deepEqual([...target.held.keys()].sort(), ['a', 'b', 'c']);
    assert.deepEqual(reconciler.counts(), { done: 3, pending: 0, failed: 1 });
    const status = reconciler.status('bad');
    assert.ok(status?.state === 'failed');
    assert.equal(status.retryAt, 100);
    assert.match(String(status.error), /cannot write bad/);
    await clock.advance(100 + 200);
    assert.deepEqual(failures, [1, 2, 3]);
    target.fails = () => false;
    await clock.advance(399);
    assert.equal(reconciler.status('bad')?.state, 'failed');
    await clock.advance(1);
    assert.deepEqual(reconciler.status('bad'), { state: 'done' });
  });

  test('a new value of a failing object is tried at once', async () => {
    const { clock, target, reconciler } = setUp();
    target.fails = () => true;
    reconciler.set({ key: 'a', value: 1 });
    await clock.advance(1000);
    target.fails = () => false;
    reconciler.set({ key: 'a', value: 2 });
    await clock.advance(0);
    assert.equal(target.held.get('a'), 2);
  });

  test('a broken target is not asked about every object', async () => {
    const { target, reconciler } = setUp();
    target.fails = () => true;
    for (let i = 0; i < 10_000; i++) reconciler.set({ key: String(i), value: 1 });
    await reconciler.flush();
    assert.ok(target.calls.length < 200, `${target.calls.length} calls`);
    assert.equal(reconciler.counts().failed, 10_000);
  });

  test('resync removes what nobody wants and writes again what others took away', async () => {
    const { target, reconciler } = setUp();
    target.held.set('stale', 9);
    reconciler.set({ key: 'a', value: 1 });
    await reconciler.flush();
    target.held.delete('a');
    await reconciler.resync();
    assert.deepEqual([...target.held], [['a', 1]]);
  });

  test('settled waits for the retries', async () => {
    const { clock, target, reconciler } = setUp();
    target.fails = () => true;
    reconciler.set({ key: 'a', value: 1 });
    let settled = false;
    const done = reconciler.settled().then(() => (settled = true));
    await clock.advance(50);
    assert.equal(settled, false);
    target.fails = () => false;
    await clock.advance(100);
    await done;
    assert.deepEqual([...target.held], [['a', 1]]);
  });

  test('whatever is asked and whatever fails, the target ends as wanted', async () => {
    const step = fc.record({
      key: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
      value: fc.option(fc.integer({ min: 0, max: 2 }), { nil: undefined }),
      faults: fc.array(fc.boolean(), { maxLength: 6 }),
      wait: fc.integer({ min: 0, max: 300 }),
      resync: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
        const { clock, target, reconciler } = setUp({ coalesceMs: 5 });
        target.held.set('stale', 1);
        const wanted = new Map<string, number>();
        for (const { key, value, faults, wait, resync } of steps) {
          const script = [...faults];
          target.fails = () => script.shift() ?? false;
          if (value === undefined) {
            wanted.delete(key);
            reconciler.delete(key);
          } else {
            wanted.set(key, value);
            reconciler.set({ key, value });
          }
          if (resync) await reconciler.resync();
          await clock.advance(wait);
        }
        target.fails = () => false;
        await clock.advance(120_000);
        const held = () => [...target.held].sort();
        const expected = [...wanted].sort();
        assert.deepEqual(
          held().filter(([key]) => key !== 'stale'),
          expected,
        );
        await reconciler.resync();
        assert.deepEqual(held(), expected);
        assert.deepEqual(reconciler.counts(), { done: wanted.size, pending: 0, failed: 0 });
        await reconciler.settled();
      }),
      { numRuns: 150 },
    );
  });
});
