import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WarmPool } from './warm-pool.ts';

/** Something that can tell whether it was given up. */
class Thing implements Disposable {
  disposed = false;

  [Symbol.dispose](): void {
    this.disposed = true;
  }
}

const idle = (): boolean => false;

const nothingMay = (error: unknown): void => assert.fail(String(error));

test('it fills up to its size, gives what it has, and fills again', async () => {
  let made = 0;
  const make = (): Promise<Thing> => {
    made++;
    return Promise.resolve(new Thing());
  };
  using pool = new WarmPool({ size: 3, make, onError: nothingMay });
  assert.equal(pool.take(), undefined);
  await Promise.all([pool.fill(idle), pool.fill(idle)]);
  assert.deepEqual([pool.ready, made], [3, 3]);
  const taken = pool.take();
  assert.equal(pool.ready, 2);
  await pool.fill(idle);
  assert.deepEqual([pool.ready, made], [3, 4]);
  pool[Symbol.dispose]();
  assert.equal(taken?.disposed, false);
});

test('it stops while somebody is busy, and goes on afterwards', async () => {
  let made = 0;
  using pool = new WarmPool({ size: 3, make: () => Promise.resolve(new Thing()), onError: nothingMay });
  await pool.fill(() => ++made > 1);
  assert.equal(pool.ready, 1);
  await pool.fill(idle);
  assert.equal(pool.ready, 3);
});

test('a failure is told and ends the filling; the next one tries again', async () => {
  const told: unknown[] = [];
  const outcomes = [new Error('no'), new Thing()];
  const make = (): Promise<Thing> => {
    const next = outcomes.shift()!;
    return next instanceof Error ? Promise.reject(next) : Promise.resolve(next);
  };
  using pool = new WarmPool({ size: 1, make, onError: (error) => told.push(error) });
  await pool.fill(idle);
  assert.deepEqual([pool.ready, told.map(String)], [0, ['Error: no']]);
  await pool.fill(idle);
  assert.deepEqual([pool.ready, told.length], [1, 1]);
});

test('what is made after it was closed is given up too', async () => {
  const { promise, resolve } = Promise.withResolvers<Thing>();
  const pool = new WarmPool({ size: 2, make: () => promise, onError: nothingMay });
  const filling = pool.fill(idle);
  pool[Symbol.dispose]();
  const late = new Thing();
  resolve(late);
  await filling;
  assert.deepEqual([late.disposed, pool.ready], [true, 0]);
});
