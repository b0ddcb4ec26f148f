import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { cidrContains, formatAddress, parseAddress, parseCidr } from '../model/address.ts';
import { addressesOf, Ipam } from './ipam.ts';
import { AddressPool } from './pool.ts';

const pool = (cidr: string) => new AddressPool(parseCidr(cidr));

describe('address pool', () => {
  test('reserves network, router and broadcast', () => {
    const small = pool('10.0.0.0/29');
    assert.equal(formatAddress(small.router), '10.0.0.1');
    assert.equal(small.capacity, 5);
    const given = Array.from({ length: 5 }, () => formatAddress(small.allocateNext('pod')));
    assert.deepEqual(given, ['10.0.0.2', '10.0.0.3', '10.0.0.4', '10.0.0.5', '10.0.0.6']);
    assert.throws(() => small.allocateNext('pod'), { code: 'IPAM_EXHAUSTED' });
    for (const own of ['10.0.0.0', '10.0.0.1', '10.0.0.7']) {
      assert.equal(small.release(parseAddress(own)), false);
      assert.throws(() => small.allocate(parseAddress(own), 'pod'), { code: 'IPAM_IN_USE' });
    }
  });

  test('gives a freed address again only after all others', () => {
    const small = pool('fd00::/125');
    const first = small.allocateNext('a');
    assert.equal(formatAddress(first), 'fd00::2');
    assert.equal(small.release(first), true);
    assert.equal(small.release(first), false);
    const next = Array.from({ length: 6 }, () => formatAddress(small.allocateNext('b')));
    assert.deepEqual(next, ['fd00::3', 'fd00::4', 'fd00::5', 'fd00::6', 'fd00::7', 'fd00::2']);
  });

  test('knows who owns an address, and refuses what is not its own', () => {
    const own = pool('10.1.0.0/16');
    own.allocate(parseAddress('10.1.2.3'), 'default/web');
    assert.equal(own.ownerOf(parseAddress('10.1.2.3')), 'default/web');
    assert.throws(() => own.allocate(parseAddress('10.1.2.3'), 'x'), { code: 'IPAM_IN_USE', message: /default\/web/ });
    assert.throws(() => own.allocate(parseAddress('10.2.0.1'), 'x'), { code: 'IPAM_OUT_OF_RANGE' });
    assert.throws(() => own.allocate(parseAddress('::1'), 'x'), { code: 'IPAM_OUT_OF_RANGE' });
  });

  test('refuses a prefix without room', () => {
    assert.throws(() => pool('10.0.0.0/31'), { code: 'CONFIG_INVALID' });
    assert.throws(() => pool('fd00::1/128'), { code: 'CONFIG_INVALID' });
  });

  test('fills a /16 quickly and leaves no address out', () => {
    const big = pool('10.1.0.0/16');
    // Time of the processor, not of the clock: other work on the machine does not count.
    const start = process.cpuUsage();
    const given = new Set(Array.from({ length: big.capacity }, () => formatAddress(big.allocateNext('pod'))));
    const elapsed = process.cpuUsage(start).user / 1000;
    assert.equal(given.size, 65533);
    assert.ok(elapsed < 5000, `took ${elapsed.toFixed(0)} ms of the processor`);
    assert.throws(() => big.allocateNext('pod'), { code: 'IPAM_EXHAUSTED' });
  });

  test('property: addresses are distinct, inside, and free again after release', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('10.0.0.0/27', '10.255.255.240/28', 'fd00:1::/64', 'fd00::ff00/123'),
        fc.array(fc.oneof(fc.constant('next' as const), fc.nat(40)), { maxLength: 80 }),
        (cidr, steps) => {
          const tested = pool(cidr);
          const held = new Map<string, ReturnType<typeof parseAddress>>();
          for (const step of steps) {
            if (step === 'next') {
              if (tested.used === tested.capacity) continue;
              const address = tested.allocateNext('pod');
              assert.ok(!held.has(formatAddress(address)));
              assert.ok(cidrContains(tested.cidr, address));
              held.set(formatAddress(address), address);
            } else {
              const victim = [...held][step % Math.max(1, held.size)];
              if (victim === undefined) continue;
              assert.equal(tested.release(victim[1]), true);
              held.delete(victim[0]);
            }
            assert.equal(tested.used, held.size);
          }
        },
      ),
    );
  });
});

describe('ipam of a node', () => {
  test('gives one address of each family, and nothing when one family is exhausted', () => {
    const ipam = new Ipam({ ipv4: parseCidr('10.0.0.0/24'), ipv6: parseCidr('fd00::/126') });
    assert.deepEqual(addressesOf(ipam.allocateNext('a')).map(formatAddress), ['10.0.0.2', 'fd00::2']);
    ipam.allocateNext('b');
    assert.throws(() => ipam.allocateNext('c'), { code: 'IPAM_EXHAUSTED' });
    assert.equal(ipam.ipv4?.used, 2, 'the IPv4 address of the failed attempt was given back');
    assert.deepEqual(ipam.allocations(), {
      '10.0.0.0': 'network',
      '10.0.0.1': 'router',
      '10.0.0.2': 'a',
      '10.0.0.3': 'b',
      '10.0.0.255': 'broadcast',
      'fd00::': 'network',
      'fd00::1': 'router',
      'fd00::2': 'a',
      'fd00::3': 'b',
    });
  });

  test('one family alone', () => {
    const ipam = new Ipam({ ipv6: parseCidr('fd00::/64') });
    assert.deepEqual(Object.keys(ipam.allocateNext('a')), ['ipv6']);
    assert.throws(() => ipam.allocateNext('a', 4), { code: 'IPAM_OUT_OF_RANGE' });
    assert.throws(() => ipam.allocate(parseAddress('10.0.0.9'), 'a'), { code: 'IPAM_OUT_OF_RANGE' });
    assert.deepEqual(Object.keys(ipam.routers), ['ipv6']);
  });
});
