import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { Clock } from '../model/clock.ts';
import { identityId } from '../model/identity.ts';
import { canonicalLabels, parseLabel } from '../model/labels.ts';
import { IdentityAllocator, type IdentityChanges } from './allocator.ts';
import { IdentityRegistry } from './registry.ts';

const labels = (...list: string[]) => canonicalLabels(list.map((text) => parseLabel(text)));

/** Time that stands still until the test moves it. */
class FakeClock implements Clock {
  #now = 0;
  #due: { at: number; fn: () => void }[] = [];
  now(): number {
    return this.#now;
  }
  after(ms: number, fn: () => void): () => void {
    const timer = { at: this.#now + ms, fn };
    this.#due.push(timer);
    return () => void (this.#due = this.#due.filter((other) => other !== timer));
  }
  advance(ms: number): void {
    this.#now += ms;
    const due = this.#due.filter(({ at }) => at <= this.#now);
    this.#due = this.#due.filter(({ at }) => at > this.#now);
    for (const { fn } of due) fn();
  }
}

describe('identity allocator', () => {
  let dir: string;
  let path: string;
  let clock: FakeClock;
  let seen: IdentityChanges[];
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'weir-identity-'));
    path = join(dir, 'identities.json');
    clock = new FakeClock();
    seen = [];
  });
  afterEach(() => rm(dir, { recursive: true, force: true, maxRetries: 5 }));

  const open = (scope = { first: 256, last: 65535 }) =>
    IdentityAllocator.open({
      name: 'test',
      scope,
      path,
      clock,
      graceMs: 1000,
      onChange: (change) => seen.push(change),
    });

  test('gives equal sets one number, whatever their order, and different sets different ones', async () => {
    const { allocator } = await open();
    const a = await allocator.acquire(labels('k8s:app=web', 'k8s:tier=1'));
    const b = await allocator.acquire([parseLabel('k8s:tier=1'), parseLabel('k8s:app=web')]);
    const c = await allocator.acquire(labels('k8s:app=db'));
    assert.equal(a.id, b.id);
    assert.equal(allocator.references(a.id), 2);
    assert.notEqual(a.id, c.id);
    assert.deepEqual(
      seen.flatMap(({ added }) => added.map(({ id }) => id)),
      [a.id, c.id],
    );
  });

  test('keeps a number until a while after its last user is gone', async () => {
    const { allocator } = await open();
    const { id } = await allocator.acquire(labels('k8s:app=web'));
    allocator.release(id);
    clock.advance(999);
    assert.equal((await allocator.acquire(labels('k8s:app=web'))).id, id);
    clock.advance(5000);
    assert.notEqual(allocator.get(id), undefined, 'a held identity stays');
    allocator.release(id);
    allocator.release(id);
    clock.advance(1000);
    assert.equal(allocator.get(id), undefined);
    assert.deepEqual(
      seen.at(-1)?.removed.map((identity) => identity.id),
      [id],
    );
    assert.notEqual(
      (await allocator.acquire(labels('k8s:app=web'))).id,
      id,
      'a freed number is not taken again at once',
    );
  });

  test('remembers numbers across a restart and forgets those nobody takes up', async () => {
    const before = await open();
    const web = await before.allocator.acquire(labels('k8s:app=web'));
    const db = await before.allocator.acquire(labels('k8s:app=db'));
    const { allocator, problem } = await open();
    assert.equal(problem, undefined);
    assert.equal((await allocator.acquire(labels('k8s:app=db'))).id, db.id);
    clock.advance(1000);
    assert.equal(allocator.get(web.id), undefined);
    assert.equal(allocator.get(db.id)?.id, db.id);
  });

  test('sets a corrupt file aside and never gives out a number that is still in use', async () => {
    await writeFile(path, '[{"id":256,"labels":["k8s:a=b"]},{"id":256,"labels":["k8s:c=d"]}]');
    const { allocator, problem } = await open();
    assert.equal(problem?.code, 'STATE_CORRUPT');
    allocator.reserve(identityId(256));
    const kept = await allocator.adopt({ id: identityId(257), labels: labels('k8s:app=kept') });
    assert.equal(kept.id, 257);
    assert.equal((await allocator.acquire(labels('k8s:app=new'))).id, 258);
    assert.match(await readFile(path, 'utf8'), /app=new/);
  });

  test('adopting a number that has gone to others gives another one', async () => {
    const { allocator } = await open();
    const web = await allocator.acquire(labels('k8s:app=web'));
    const db = await allocator.adopt({ id: web.id, labels: labels('k8s:app=db') });
    assert.notEqual(db.id, web.id);
    assert.deepEqual(allocator.get(web.id)?.labels, labels('k8s:app=web'));
  });

  test('when all numbers are taken, takes an unused one back, and else says so', async () => {
    const { allocator } = await open({ first: 300, last: 301 });
    const a = await allocator.acquire(labels('k8s:n=1'));
    await allocator.acquire(labels('k8s:n=2'));
    await assert.rejects(allocator.acquire(labels('k8s:n=3')), { code: 'IDENTITY_EXHAUSTED' });
    allocator.release(a.id);
    assert.equal((await allocator.acquire(labels('k8s:n=3'))).id, a.id);
  });

  test('a number that cannot be remembered is not handed out', async () => {
    const { allocator } = await open();
    await rm(dir, { recursive: true });
    await writeFile(dir, 'a file where the directory was');
    await assert.rejects(allocator.acquire(labels('k8s:app=web')), { code: 'STATE_WRITE_FAILED' });
    const id = allocator.find(labels('k8s:app=web'))?.id;
    assert.equal(id === undefined ? 0 : allocator.references(id), 0);
    await rm(dir);
    assert.equal((await allocator.acquire(labels('k8s:app=web'))).id, 256);
    assert.match(await readFile(path, 'utf8'), /app=web/);
  });

  test('the registry puts each set into its scope', async () => {
    const { registry } = await IdentityRegistry.open({ stateDir: dir, clock, onChange: (change) => seen.push(change) });
    assert.equal((await registry.acquire(labels('k8s:app=web'))).id, 256);
    assert.equal((await registry.acquire(labels('cidr:10.0.0.0/8', 'reserved:world-ipv4'))).id, 16777217);
    assert.equal((await registry.acquire(labels('reserved:remote-node', 'node:zone=a'))).id, 33554433);
    assert.equal((await registry.acquire(labels('reserved:init'))).id, 5);
    assert.throws(() => registry.get(identityId(999)), { code: 'IDENTITY_NOT_FOUND' });
    assert.deepEqual(
      registry.list().map(({ id }) => id),
      [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 256, 16777217, 33554433],
    );
  });

  describe('numbers of the cluster', () => {
    let renumbered: number;
    const follow = () => {
      renumbered = 0;
      return IdentityAllocator.open({
        ...{ name: 'test', scope: { first: 256, last: 65535 }, path, clock, graceMs: 1000 },
        onChange: (change) => seen.push(change),
        onRenumbered: () => renumbered++,
      });
    };
    const web = { id: identityId(4000), labels: labels('k8s:app=web') };

    test('equal labels have the number that the cluster gave them', async () => {
      const { allocator } = await follow();
      allocator.learn(web);
      allocator.learn(web);
      assert.equal((await allocator.acquire(web.labels)).id, 4000);
      allocator.release(web.id);
      clock.advance(5000);
      assert.deepEqual(allocator.find(web.labels), web, 'stays without users');
      allocator.forget(web.id);
      clock.advance(5000);
      assert.deepEqual([allocator.find(web.labels), renumbered], [undefined, 0]);
      assert.deepEqual(seen, [
        { added: [web], removed: [] },
        { added: [], removed: [web] },
      ]);
    });

    test('a set that has another number moves to it, and keeps the old one until it has', async () => {
      const { allocator } = await follow();
      const own = await allocator.acquire(web.labels);
      allocator.learn(web);
      assert.deepEqual([renumbered, allocator.get(own.id), allocator.find(web.labels)], [1, own, web]);
      assert.equal((await allocator.acquire(web.labels)).id, 4000);
      const { problem } = await follow();
      assert.equal(problem, undefined, 'labels stand in the file once');
      allocator.release(own.id);
      clock.advance(1000);
      assert.deepEqual([allocator.get(own.id), allocator.get(web.id)], [undefined, web]);
    });

    test('a number that other labels hold here comes when they have left it', async () => {
      const { allocator } = await follow();
      const other = await allocator.acquire(labels('k8s:app=other'));
      allocator.learn({ id: other.id, labels: web.labels });
      assert.deepEqual([renumbered, allocator.get(other.id), allocator.find(web.labels)], [1, other, undefined]);
      const moved = await allocator.acquire(other.labels);
      assert.notEqual(moved.id, other.id);
      allocator.release(other.id);
      assert.deepEqual(allocator.get(other.id), { id: other.id, labels: web.labels });
      assert.deepEqual(allocator.find(other.labels), moved);
    });

    test('other labels under the same number replace those that nobody holds', async () => {
      const { allocator } = await follow();
      allocator.learn(web);
      allocator.learn({ id: web.id, labels: labels('k8s:app=other') });
      assert.deepEqual([allocator.find(web.labels), allocator.list().length, renumbered], [undefined, 1, 0]);
    });
  });
});
