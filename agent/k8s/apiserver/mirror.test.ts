import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { ResourceEvent } from '../../model/resource.ts';
import { isNewer, Mirror, type MirrorIssue } from './mirror.ts';

/** A pod as a server has it at a version. */
const pod = (name: string, version: number, value = `v${version}`) => ({
  metadata: { name, namespace: 'default', uid: `uid-${name}`, resourceVersion: String(version), labels: { value } },
});

/** What somebody who follows the events knows: names and the value of each. */
class Follower {
  readonly state = new Map<string, string>();
  readonly issues: MirrorIssue[] = [];
  events = 0;
  readonly mirror = new Mirror({
    kind: 'Pod',
    onEvent: (event) => this.#take(event),
    onIssue: (issue) => this.issues.push(issue),
  });

  #take(event: ResourceEvent): void {
    assert.ok(event.type !== 'synced');
    this.events++;
    const { name, object } = event.resource;
    if (event.type === 'delete') assert.ok(this.state.delete(name), `${name} was never there`);
    else this.state.set(name, (object['metadata'] as { labels: { value: string } }).labels.value);
  }

  list(objects: readonly object[], version: number): void {
    const list = this.mirror.list('v1');
    for (const object of objects) list.add(object);
    list.finish(String(version));
  }
}

describe('a mirror of one kind', () => {
  test('tells each change once', () => {
    const follower = new Follower();
    follower.list([pod('a', 1), pod('b', 2)], 3);
    assert.equal(follower.mirror.version, '3');
    follower.mirror.event('MODIFIED', pod('a', 4), 'v1');
    follower.mirror.event('MODIFIED', pod('a', 4), 'v1');
    follower.mirror.event('DELETED', pod('b', 5, 'v2'), 'v1');
    follower.mirror.event('DELETED', pod('b', 5, 'v2'), 'v1');
    assert.deepEqual([...follower.state], [['a', 'v4']]);
    assert.equal(follower.events, 4);
    assert.equal(follower.mirror.version, '5');
  });

  test('a version that changes nothing the agent sees is not told', () => {
    const follower = new Follower();
    follower.list([pod('a', 1, 'same')], 1);
    const heartbeat = { ...pod('a', 2, 'same'), status: { conditions: [{ type: 'Ready', lastProbeTime: 'now' }] } };
    follower.mirror.event('MODIFIED', heartbeat, 'v1');
    assert.equal(follower.events, 1);
    assert.equal(follower.mirror.version, '2');
  });

  test('an older version never replaces a newer one, and a late event does not bring back what is gone', () => {
    const follower = new Follower();
    follower.list([pod('a', 1)], 1);
    follower.mirror.event('MODIFIED', pod('a', 3), 'v1');
    follower.mirror.event('MODIFIED', pod('a', 2), 'v1');
    assert.equal(follower.state.get('a'), 'v3');
    follower.mirror.event('DELETED', pod('a', 5, 'v3'), 'v1');
    follower.mirror.event('MODIFIED', pod('a', 4), 'v1');
    assert.equal(follower.state.size, 0);
    follower.mirror.bookmark('9');
    follower.mirror.event('ADDED', pod('a', 4), 'v1');
    assert.equal(follower.state.size, 0);
    follower.mirror.event('ADDED', pod('a', 10), 'v1');
    assert.equal(follower.state.get('a'), 'v10');
  });

  test('a list takes away what it lacks, after it brought what is new', () => {
    const follower = new Follower();
    follower.list([pod('a', 1), pod('b', 2)], 2);
    const list = follower.mirror.list('v1');
    list.add(pod('c', 7));
    assert.deepEqual([...follower.state.keys()], ['a', 'b', 'c']);
    list.finish('8');
    assert.deepEqual([...follower.state.keys()], ['c']);
    follower.mirror.event('MODIFIED', pod('a', 6), 'v1');
    assert.deepEqual([...follower.state.keys()], ['c'], 'the list knew of version 6');
  });

  test('a list that is given up deletes nothing', () => {
    const follower = new Follower();
    follower.list([pod('a', 1)], 1);
    follower.mirror.list('v1').add(pod('b', 2));
    follower.list([pod('a', 1), pod('b', 2)], 3);
    assert.deepEqual([...follower.state.keys()], ['a', 'b']);
    assert.equal(follower.events, 2);
  });

  test('an API server whose storage was set back is believed', () => {
    const follower = new Follower();
    follower.list([pod('a', 100)], 100);
    follower.list([pod('a', 7)], 8);
    assert.equal(follower.state.get('a'), 'v7');
    follower.mirror.event('MODIFIED', pod('a', 9), 'v1');
    assert.equal(follower.state.get('a'), 'v9');
    assert.equal(follower.mirror.version, '9');
  });

  test('versions that are no numbers count in the order of their arrival', () => {
    const follower = new Follower();
    const at = (version: string) => ({ metadata: { ...pod('a', 0).metadata, resourceVersion: version } });
    follower.mirror.event('ADDED', { metadata: { ...at('x').metadata, labels: { value: 'x' } } }, 'v1');
    follower.mirror.event('MODIFIED', { metadata: { ...at('b').metadata, labels: { value: 'b' } } }, 'v1');
    assert.equal(follower.state.get('a'), 'b');
    assert.equal(follower.mirror.version, 'b');
  });

  test('an object that has no name is reported and left out', () => {
    const follower = new Follower();
    follower.list([{ metadata: {} }, pod('a', 1)], 1);
    assert.equal(follower.state.size, 1);
    assert.deepEqual(follower.issues, [{ object: 'Pod', field: 'metadata.name', message: 'is missing' }]);
  });
});

test('decimal versions are compared as numbers', () => {
  assert.ok(isNewer('10', '9'));
  assert.ok(!isNewer('9', '10'));
  assert.ok(!isNewer('9', '9'));
  assert.ok(isNewer('99999999999999999999', '99999999999999999998'));
});

/** A history of a few objects, and what is heard of it. */
type Step =
  | { readonly do: 'write' | 'delete'; readonly name: string }
  /** The n-th event that ever happened arrives (again). */
  | { readonly do: 'hear'; readonly index: number }
  | { readonly do: 'list' }
  | { readonly do: 'half a list'; readonly count: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constantFrom('write' as const, 'delete' as const), name: fc.constantFrom('a', 'b', 'c') }),
  fc.record({ do: fc.constant('hear' as const), index: fc.nat(40) }),
  fc.record({ do: fc.constant('list' as const) }),
  fc.record({ do: fc.constant('half a list' as const), count: fc.nat(2) }),
);

interface Happened {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly object: ReturnType<typeof pod>;
}

/** The server, and a follower who hears of it what the steps say. */
class World {
  readonly truth = new Map<string, ReturnType<typeof pod>>();
  readonly history: Happened[] = [];
  readonly follower = new Follower();
  version = 1;

  run(step: Step): void {
    switch (step.do) {
      case 'write': {
        const object = pod(step.name, ++this.version);
        this.history.push({ type: this.truth.has(step.name) ? 'MODIFIED' : 'ADDED', object });
        this.truth.set(step.name, object);
        return;
      }
      case 'delete': {
        const object = this.truth.get(step.name);
        if (object === undefined) return;
        this.truth.delete(step.name);
        this.history.push({ type: 'DELETED', object: pod(step.name, ++this.version, object.metadata.labels.value) });
        return;
      }
      case 'hear':
        this.hear(this.history[step.index % Math.max(1, this.history.length)]);
        return;
      case 'list':
        this.follower.list([...this.truth.values()], this.version);
        return;
      case 'half a list': {
        const list = this.follower.mirror.list('v1');
        for (const object of [...this.truth.values()].slice(0, step.count)) list.add(object);
      }
    }
  }

  hear(event: Happened | undefined): void {
    if (event !== undefined) this.follower.mirror.event(event.type, event.object, 'v1');
  }

  check(): void {
    const truth = [...this.truth].map(([name, { metadata }]) => [name, metadata.labels.value]).sort();
    assert.deepEqual([...this.follower.state].sort(), truth);
  }
}

describe('whatever arrives, in whatever order, lost or twice', () => {
  test('a list sets everything right', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const world = new World();
        for (const each of steps) world.run(each);
        world.run({ do: 'list' });
        world.check();
        for (const event of world.history) world.hear(event);
        world.check();
      }),
      { numRuns: 2000 },
    );
  });

  test('without a list, everything once is enough, in any order and with repetitions', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), fc.infiniteStream(fc.nat()), (steps, choice) => {
        const world = new World();
        for (const each of steps) if (each.do !== 'half a list') world.run(each);
        const due = [...world.history];
        while (due.length > 0) world.hear(due.splice(choice.next().value! % due.length, 1)[0]);
        world.check();
      }),
      { numRuns: 2000 },
    );
  });
});
