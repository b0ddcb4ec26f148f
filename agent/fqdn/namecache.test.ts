import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { NaiveNames } from '../../test/bench/fqdn-naive.ts';
import { namePattern } from '../../dns-proxy/rules/name-pattern.ts';
import { formatAddress, parseAddress } from '../model/address.ts';
import { endpointId } from '../model/endpoint.ts';
import { WeirError } from '../model/errors.ts';
import type { AddressChange } from './links.ts';
import { DEFAULT_NAME_LIMITS, NameCache, type NameCacheOptions } from './namecache.ts';
import { NameSelectors, type NameSelector } from './nameselectors.ts';
import { decodeLine, encodeLine, entriesOf, recordsOf } from './record.ts';

const SECOND = 1000;
const [ONE, TWO] = [endpointId(1), endpointId(2)];
const A = '192.0.2.1';
const B = '2001:db8::2';

/** A cache at a time of its own, and what its changes have added up to. */
class World {
  now = 1_700_000_000_000;
  readonly told = new Map<string, string>();
  readonly cache: NameCache;

  constructor(options: Partial<NameCacheOptions> = {}) {
    const clock = { now: () => this.now };
    this.cache = new NameCache({ clock, minTtl: 0, limits: DEFAULT_NAME_LIMITS, admits: () => true, ...options });
  }

  /** Applies changes as their consumer would, checking that each is one. */
  take(changes: readonly AddressChange[]): string {
    for (const { address, selectors, before } of changes) {
      const text = formatAddress(address);
      assert.equal(before.selectors.join(' '), this.told.get(text) ?? '', `what ${text} was before`);
      assert.notEqual(selectors, before);
      if (selectors.selectors.length === 0) this.told.delete(text);
      else this.told.set(text, selectors.selectors.join(' '));
    }
    return changes
      .map(({ address, selectors }) => `${formatAddress(address)}=${selectors.selectors.join('+')}`)
      .join(' ');
  }

  learn(endpoint: number, name: string, addresses: readonly string[], ttl = 10): string {
    const parsed = addresses.map((text) => parseAddress(text));
    return this.take(this.cache.learn(endpointId(endpoint), name, parsed, ttl));
  }

  select(...texts: string[]): string {
    return this.take(this.cache.select(texts.map((text) => selector(text))));
  }

  expire(seconds: number): string {
    this.now += seconds * SECOND;
    return this.take(this.cache.expire());
  }

  /** A collection that begins now and sees the addresses `alive`. */
  collect(...alive: string[]): string {
    return this.take(this.cache.collected(this.now, (_endpoint, address) => alive.includes(formatAddress(address))));
  }
}

function selector(text: string): NameSelector {
  return text.includes('*') ? { matchPattern: text } : { matchName: text };
}

describe('addresses of names', () => {
  test('have the selectors of all their names, and only news is told', () => {
    const world = new World();
    world.select('a.com', '*.b.com');
    assert.equal(world.learn(1, 'a.com.', [A, B, A]), `${A}=a.com ${B}=a.com`);
    assert.equal(world.learn(1, 'a.com.', [A, B]), '', 'allowed already: no delay');
    assert.equal(world.learn(2, 'x.b.com.', [A]), `${A}=*.b.com+a.com`);
    assert.equal(world.learn(2, 'other.com.', [A, '192.0.2.9']), '');
    assert.equal(world.take(world.cache.removeEndpoint(ONE)), `${A}=*.b.com ${B}=`);
  });

  test('of equal sets share one object, whose identity they may share (S22)', () => {
    const world = new World();
    world.select('*.com', 'a.com');
    const [first] = world.cache.learn(ONE, 'a.com.', [parseAddress(A)], 9);
    const [second] = world.cache.learn(TWO, 'a.com.', [parseAddress(B)], 9);
    assert.equal(first?.selectors, second?.selectors);
  });

  test('learned earlier are selected by a pattern that comes later, and let go with it', () => {
    const world = new World();
    world.learn(1, 'www.cilium.io.', [A]);
    assert.equal(world.select('*.CILIUM.io'), `${A}=*.CILIUM.io`);
    assert.equal(world.select('*.CILIUM.io', '*'), `${A}=*+*.CILIUM.io`);
    assert.equal(world.select('*'), `${A}=*`);
    assert.equal(world.select(), `${A}=`);
  });

  test('that are not the world never have selectors, while they are not (S22)', () => {
    let pods = [A];
    const world = new World({ admits: (address) => !pods.includes(formatAddress(address)) });
    world.select('*');
    assert.equal(world.learn(1, 'evil.com.', [A, B]), `${B}=*`);
    pods = [B];
    assert.equal(world.take(world.cache.reconsider(parseAddress(A))), `${A}=*`);
    assert.equal(world.take(world.cache.reconsider(parseAddress(B))), `${B}=`);
  });
});

describe('a lease', () => {
  test('lasts its TTL or the least TTL, and is never shortened (S30)', () => {
    const world = new World({ minTtl: 60 });
    world.learn(1, 'a.com.', [A], 1);
    world.learn(1, 'a.com.', [A], 300);
    world.learn(1, 'a.com.', [A], 100);
    const [entry] = world.cache.entries();
    assert.equal(entry?.until, world.now + 300 * SECOND);
  });

  test('that ended keeps its address until a later collection does not see it (S31)', () => {
    const world = new World();
    world.select('a.com');
    world.learn(1, 'a.com.', [A], 10);
    assert.equal(world.collect(), '', 'a lease is not for conntrack to judge');
    assert.equal(world.expire(10), '', 'the TTL has ended: a zombie');
    assert.equal(world.collect(), '', 'a collection that began when it ended says nothing');
    world.now += SECOND;
    assert.equal(world.collect(A), '', 'alive');
    assert.equal(world.collect(), '', 'the same collection again');
    world.now += SECOND;
    assert.equal(world.collect(), `${A}=`);
    assert.deepEqual(world.cache.size, { names: 0, addresses: 0 });
  });

  test('whose connection was seen lately counts as alive for the grace period', () => {
    const world = new World({ limits: { ...DEFAULT_NAME_LIMITS, idleGraceMs: 60 * SECOND } });
    world.select('*');
    world.learn(1, 'a.com.', [A], 1);
    world.learn(1, 'b.com.', [B], 1);
    world.expire(2);
    world.now += SECOND;
    assert.equal(world.collect(A), `${B}=`, 'never seen: no grace');
    world.now += 60 * SECOND;
    assert.equal(world.collect(), '');
    world.now += SECOND;
    assert.equal(world.collect(), `${A}=`);
  });

  test('is renewed by a new answer, also as a zombie', () => {
    const world = new World();
    world.select('a.com');
    world.learn(1, 'a.com.', [A], 10);
    world.expire(11);
    assert.equal(world.learn(1, 'a.com.', [A], 10), '');
    world.now += SECOND;
    assert.equal(world.collect(), '');
    assert.deepEqual(
      [...world.cache.entries()].map(({ zombie }) => zombie),
      [false],
    );
  });

  test('can be ended early by name; live connections go on', () => {
    const world = new World();
    world.select('*');
    world.learn(1, 'a.com.', [A]);
    world.learn(1, 'b.com.', [B]);
    assert.equal(world.take(world.cache.clean({ matches: (name) => name === 'a.com.' })), '');
    world.now += SECOND;
    assert.equal(world.collect(), `${A}=`);
  });
});

describe('limits', () => {
  const address = (i: number): string => `198.51.100.${i}`;

  test('of addresses of a name: those that end first become zombies', () => {
    const world = new World({ limits: { ...DEFAULT_NAME_LIMITS, addressesPerName: 2 } });
    for (let i = 1; i <= 3; i++) world.learn(1, 'a.com.', [address(i)], 10 * i);
    const zombies = [...world.cache.entries()]
      .filter(({ zombie }) => zombie)
      .map((entry) => formatAddress(entry.address));
    assert.deepEqual(zombies, [address(1)]);
  });

  test('of an endpoint, whatever its names: nothing grows with what it asks', () => {
    const limits = { addressesPerName: 10, addressesPerEndpoint: 16, zombiesPerEndpoint: 16, idleGraceMs: 0 };
    const world = new World({ limits });
    world.select('*');
    for (let i = 0; i < 500; i++) world.learn(1, `n${i}.com.`, [address(i % 250)], 60 + i);
    assert.ok(world.cache.size.names <= 33, `${world.cache.size.names} names`);
    assert.equal(world.told.size, world.cache.size.addresses);
  });

  test('of zombies: never seen alive first, then the earliest (S31)', () => {
    const world = new World({ limits: { ...DEFAULT_NAME_LIMITS, zombiesPerEndpoint: 2 } });
    world.select('*');
    world.learn(1, 'a.com.', [address(1), address(2)], 1);
    world.expire(1);
    world.now += SECOND;
    world.collect(address(1), address(2));
    world.learn(1, 'b.com.', [address(3)], 1);
    assert.equal(world.expire(5), `${address(3)}=`, 'never seen');
    world.now += SECOND;
    world.collect(address(1), address(2));
    world.now += SECOND;
    world.learn(1, 'b.com.', [address(3)], 1);
    assert.equal(world.expire(5), `${address(3)}=`);
  });
});

test('a cache survives a restart, with names that mean something to JavaScript', () => {
  const before = new World();
  before.select('*');
  before.learn(1, '__proto__.', [A, B], 10);
  before.learn(2, 'constructor.', [A], 60);
  before.expire(30);
  const lines = [...recordsOf(before.cache.entries())].map(encodeLine);
  const after = new World();
  after.now = before.now;
  after.select('*');
  after.take(after.cache.restore(entriesOf(lines.map(decodeLine))));
  assert.deepEqual([...after.told].sort(), [...before.told].sort());
  const key = (world: World): string[] =>
    [...world.cache.entries()].map((e) => `${e.endpoint} ${e.name} ${formatAddress(e.address)} ${e.zombie}`).sort();
  assert.deepEqual(key(after), key(before));
  const ofTwo = entriesOf([...lines, '{"gone":1}'].map(decodeLine));
  assert.deepEqual([...new Set(ofTwo.map(({ endpoint }) => endpoint))], [2]);
  const line = JSON.parse(lines[0]!) as object;
  const bad = [
    { endpoint: 70_000 },
    { name: 7 },
    { until: 1.5 },
    { addresses: ['x'] },
    { addresses: 'x' },
    { gone: '1' },
  ];
  for (const fault of bad) assert.throws(() => decodeLine(JSON.stringify({ ...line, ...fault })), WeirError);
  assert.throws(() => decodeLine(lines[0]!.slice(0, -1)), { code: 'STATE_CORRUPT' });
});

const op = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('learn' as const),
      endpoint: fc.nat(3),
      name: fc.nat(5),
      from: fc.nat(9),
      count: fc.integer({ min: 1, max: 4 }),
      ttl: fc.nat(6),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('select' as const), mask: fc.nat(31) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('collect' as const),
      seconds: fc.integer({ min: 1, max: 5 }),
      alive: fc.nat(1023),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('remove' as const), endpoint: fc.nat(3) }) },
);

test('what the changes add up to is what everything anew comes to', () => {
  const NAMES = ['a.com.', 'b.com.', 'x.a.com.', 'y.a.com.', 'www.io.', 'io.'];
  const SELECTORS = ['a.com', '*.a.com', '*.com', '*', 'B.com'];
  const ADDRESSES = Array.from({ length: 14 }, (_, i) => (i % 3 === 0 ? `2001:db8::${i + 1}` : `203.0.113.${i}`));
  fc.assert(
    fc.property(fc.array(op, { maxLength: 60 }), (ops) => {
      const [world, naive] = [new World(), new NaiveNames()];
      for (const step of ops) {
        if (step.do === 'learn') {
          const addresses = ADDRESSES.slice(step.from, step.from + step.count);
          world.learn(step.endpoint, NAMES[step.name]!, addresses, step.ttl);
          naive.learn(step.endpoint, NAMES[step.name]!, addresses, world.now + step.ttl * SECOND);
        } else if (step.do === 'select') {
          const wanted = SELECTORS.filter((_, i) => (step.mask >> i) & 1);
          world.select(...wanted);
          naive.select(wanted.map(selector));
        } else if (step.do === 'remove') {
          world.take(world.cache.removeEndpoint(endpointId(step.endpoint)));
          naive.remove(step.endpoint);
        } else {
          world.expire(step.seconds);
          world.now += SECOND;
          const alive = ADDRESSES.filter((_, i) => (step.alive >> i) & 1);
          world.collect(...alive);
          // What ended within this last second is not the collection's to judge.
          naive.collect((_endpoint, address, until) => until > world.now - SECOND || alive.includes(address));
        }
        const expected = [...naive.state()].map(([address, set]) => `${address}=${[...set].sort().join(' ')}`).sort();
        assert.deepEqual([...world.told].map(([address, set]) => `${address}=${set}`).sort(), expected);
      }
    }),
    { numRuns: 300 },
  );
});

test('patterns are found by their ending as they are by trying each', () => {
  const part = fc.constantFrom('a', 'b', '*', 'a*', '*b', '**', 'com');
  const pattern = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('.'));
  const name = fc.array(fc.constantFrom('a', 'b', 'ab', 'com'), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(fc.array(pattern, { maxLength: 6 }), name, (texts, labels) => {
      const selectors = new NameSelectors();
      selectors.replace([{ matchPattern: 'b.com' }, ...texts.map(selector)]);
      const asked = `${labels.join('.')}.`;
      const expected = new Set(['b.com', ...texts].filter((text) => namePattern(text).matches(asked)));
      assert.deepEqual([...selectors.of(asked)].sort(), [...expected].sort());
      selectors.replace([]);
      assert.deepEqual([...selectors.of(asked)], []);
    }),
    { numRuns: 500 },
  );
});
