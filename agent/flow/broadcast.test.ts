import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Broadcast, ListQueue, type Batch } from './broadcast.ts';

async function next(iterator: AsyncIterator<Batch<readonly number[]>, void>): Promise<Batch<readonly number[]>> {
  const result = await iterator.next();
  assert.ok(result.done !== true);
  return result.value;
}

describe('Broadcast', () => {
  test('every subscriber gets every event it wants, in order', async () => {
    const broadcast = new Broadcast(() => new ListQueue<number>());
    const all = broadcast.subscribe(10)[Symbol.asyncIterator]();
    const even = broadcast.subscribe(10, (n) => n % 2 === 0)[Symbol.asyncIterator]();
    for (const n of [1, 2, 3, 4]) broadcast.publish(n);
    assert.deepEqual(await next(all), { events: [1, 2, 3, 4], lost: 0, limited: 0 });
    assert.deepEqual(await next(even), { events: [2, 4], lost: 0, limited: 0 });
  });

  test('a full queue counts what it drops, and the others do not notice', async () => {
    const broadcast = new Broadcast(() => new ListQueue<number>());
    const slow = broadcast.subscribe(2)[Symbol.asyncIterator]();
    const fast = broadcast.subscribe(10)[Symbol.asyncIterator]();
    for (const n of [1, 2, 3, 4]) broadcast.publish(n);
    broadcast.miss({ count: 5, cause: 'lost' });
    assert.deepEqual(await next(slow), { events: [1, 2], lost: 7, limited: 0 });
    assert.deepEqual(await next(fast), { events: [1, 2, 3, 4], lost: 5, limited: 0 });
    broadcast.publish(5);
    assert.deepEqual(await next(slow), { events: [5], lost: 0, limited: 0 });
  });

  test('what is missed is told to those who want its kind', async () => {
    const broadcast = new Broadcast(() => new ListQueue<number>());
    const all = broadcast.subscribe(2)[Symbol.asyncIterator]();
    const some = broadcast.subscribe(2, undefined, (kind) => kind === 'even')[Symbol.asyncIterator]();
    broadcast.miss({ count: 3, cause: 'limited', kind: 'odd' });
    broadcast.miss({ count: 1, cause: 'lost', kind: 'even' });
    assert.deepEqual(await next(all), { events: [], lost: 1, limited: 3 });
    assert.deepEqual(await next(some), { events: [], lost: 1, limited: 0 });
  });

  test('a waiting subscriber is woken by an event, and by the end', async () => {
    const broadcast = new Broadcast(() => new ListQueue<number>());
    const subscription = broadcast.subscribe(10);
    const iterator = subscription[Symbol.asyncIterator]();
    const waiting = next(iterator);
    broadcast.publish(1);
    assert.deepEqual(await waiting, { events: [1], lost: 0, limited: 0 });
    const end = iterator.next();
    broadcast.close();
    assert.equal((await end).done, true);
    assert.equal(broadcast.size, 0);
  });

  test('leaving the loop ends the subscription', async () => {
    const broadcast = new Broadcast(() => new ListQueue<number>());
    const subscription = broadcast.subscribe(10);
    broadcast.publish(1);
    for await (const { events } of subscription) {
      assert.deepEqual(events, [1]);
      break;
    }
    assert.equal(broadcast.size, 0);
  });
});
