import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { addressEquals, formatAddress, formatCidr, parseAddress, parseCidr } from '../model/address.ts';
import { ifIndex } from '../model/endpoint.ts';
import { formatMac, parseMac } from '../model/mac.ts';
import { NetlinkError } from './netlink.ts';
import { Netns } from './netns.ts';
import { Rtnetlink } from './rtnetlink.ts';
import { addAddress, deleteAddress } from './rtnl-address.ts';
import { changeLink, createVeth, createVxlan, deleteLink } from './rtnl-link.ts';
import { deleteNeighbour, setNeighbour } from './rtnl-neighbour.ts';
import { deleteRoute, type Route, setRoute } from './rtnl-route.ts';
import { addRule, deleteRule } from './rtnl-rule.ts';
import { testNetns } from './testbed.ts';

const LOOPBACK = ifIndex(1);
const MAC = parseMac('02:00:00:00:00:01');

/** Two namespaces joined by a veth pair, both ends up. */
function pair(): Disposable & { a: Rtnetlink; b: Rtnetlink; aNs: Netns; bNs: Netns } {
  const stack = new DisposableStack();
  const aNs = stack.use(testNetns());
  const bNs = stack.use(testNetns());
  const a = stack.use(Rtnetlink.open(aNs));
  const b = stack.use(Rtnetlink.open(bNs));
  a.apply(createVeth({ name: 'left', mtu: 1400, mac: MAC, peer: { name: 'right', netnsFd: bNs.fd } }));
  b.apply(changeLink(b.link('right')!.index, { up: true }));
  return { a, b, aNs, bNs, [Symbol.dispose]: () => stack.dispose() };
}

test('a veth pair is made with its peer in another namespace, and goes with one deletion', async () => {
  using ns = pair();
  const left = ns.a.link('left')!;
  const right = ns.b.link('right')!;
  assert.deepEqual(
    { ...left, mac: formatMac(left.mac!) },
    {
      index: left.index,
      name: 'left',
      mac: formatMac(MAC),
      mtu: 1400,
      up: true,
      carrier: true,
      ethernet: true,
      kind: 'veth',
      peerIndex: right.index,
      vxlanPort: undefined,
    },
  );
  assert.equal(right.peerIndex, left.index);
  assert.equal(right.mtu, 1400);
  assert.equal(ns.a.link('right'), undefined);
  assert.deepEqual(ns.a.link(left.index), left);
  assert.deepEqual(ns.a.links().map(({ name }) => name).sort(), ['left', 'lo']); // prettier-ignore
  assert.equal(await ns.a.removeLink('left'), true);
  assert.equal(await ns.a.removeLink('left'), false);
  assert.equal(await ns.a.removeLink(left.index), false);
  assert.equal(ns.b.link('right'), undefined);
});

test('links are renamed, resized, moved; vxlan devices are made', () => {
  using ns = pair();
  const { index } = ns.a.link('left')!;
  ns.a.apply(changeLink(index, { up: false }), changeLink(index, { name: 'eth0', mtu: 1300 }));
  const { name, mtu, up } = ns.a.link(index)!;
  assert.deepEqual([name, mtu, up], ['eth0', 1300, false]);
  ns.a.apply(changeLink(index, { netnsFd: ns.bNs.fd }));
  assert.equal(ns.a.link('eth0'), undefined);
  assert.equal(ns.b.link('eth0')?.mtu, 1300);
  ns.a.apply(createVxlan({ name: 'vx', port: 8472 }));
  assert.equal(ns.a.link('vx')?.kind, 'vxlan');
});

test('addresses of both families are added, found, and deleted', () => {
  using ns = pair();
  const { index } = ns.a.link('left')!;
  const four = { index, address: parseAddress('10.0.0.1'), prefixLength: 24 };
  const six = { index, address: parseAddress('fd00::1'), prefixLength: 64 };
  ns.a.apply(addAddress(four), addAddress(six), addAddress(four));
  const texts = (): string[] =>
    ns.a
      .addresses(index)
      .map(({ address, prefixLength }) => `${formatAddress(address)}/${prefixLength}`)
      .filter((text) => !text.startsWith('fe80'));
  assert.deepEqual(texts(), ['10.0.0.1/24', 'fd00::1/64']);
  assert.equal(ns.a.remove(deleteAddress(four)), true);
  assert.equal(ns.a.remove(deleteAddress(four)), false);
  assert.deepEqual(texts(), ['fd00::1/64']);
  assert(ns.a.addresses().some(({ address }) => addressEquals(address, six.address)));
  assert.deepEqual(ns.a.addresses(ifIndex(4242)), []);
});

test('an address without its prefix route leaves the table alone', () => {
  using ns = pair();
  const { index } = ns.a.link('left')!;
  ns.a.apply(addAddress({ index, address: parseAddress('10.0.0.1'), prefixLength: 24 }, { noPrefixRoute: true }));
  assert.deepEqual(ns.a.routes(4), []);
});

describe('routes', () => {
  const cases = [
    { family: 4, gateway: '10.1.0.1', host: '10.1.0.1/32', far: '0.0.0.0/0', self: '10.1.0.9' },
    { family: 6, gateway: 'fd01::1', host: 'fd01::1/128', far: '::/0', self: 'fd01::9' },
  ] as const;
  for (const { family, gateway, host, far, self } of cases) {
    test(`of a pod, IPv${family}: to the gateway on the link, everything else by it`, () => {
      using ns = pair();
      const { index } = ns.a.link('left')!;
      const own = { index, address: parseAddress(self), prefixLength: family === 4 ? 32 : 128 };
      const toGateway: Route = { destination: parseCidr(host), index };
      const byGateway: Route = {
        destination: parseCidr(far),
        gateway: parseAddress(gateway),
        index,
        mtu: 1280,
        metric: 7,
      };
      ns.a.apply(addAddress(own), setRoute(toGateway), setRoute(byGateway), setRoute(byGateway));
      const found = ns.a.routes(family).find(({ destination }) => formatCidr(destination) === far);
      assert.deepEqual(found, { ...byGateway, kind: 'unicast', table: 254 });
      assert.equal(ns.a.remove(deleteRoute(byGateway)), true);
      assert.equal(ns.a.remove(deleteRoute(byGateway)), false);
      assert.equal(ns.a.remove(deleteRoute(toGateway)), true);
    });

    test(`of other kinds and tables, IPv${family}`, () => {
      using ns = pair();
      ns.a.apply(changeLink(LOOPBACK, { up: true }));
      const local: Route = { destination: parseCidr(far), kind: 'local', index: LOOPBACK, table: 200 };
      const hole: Route = { destination: parseCidr(host), kind: 'blackhole', table: 200 };
      assert.deepEqual(ns.a.routes(family, 200), []);
      ns.a.apply(setRoute(local), setRoute(hole));
      assert.deepEqual(ns.a.routes(family, 200).map(({ kind }) => kind).sort(), ['blackhole', 'local']); // prettier-ignore
      assert.equal(ns.a.remove(deleteRoute(local)), true);
      assert.equal(ns.a.remove(deleteRoute(hole)), true);
    });
  }
});

test('rules by mark are added, listed and deleted', () => {
  using ns = testNetns();
  using rt = Rtnetlink.open(ns);
  for (const family of [4, 6] as const) {
    const rule = { family, priority: 10, table: 200, mark: { value: 0x200, mask: 0xf00 } };
    rt.apply(addRule(rule));
    assert.throws(() => rt.apply(addRule(rule)), { errno: 17 });
    assert.deepEqual(rt.rules(family).find(({ priority }) => priority === 10), rule); // prettier-ignore
    assert.equal(rt.remove(deleteRule(rule)), true);
    assert.equal(rt.remove(deleteRule(rule)), false);
  }
});

test('permanent neighbours are set, listed and deleted', () => {
  using ns = pair();
  const { index } = ns.a.link('left')!;
  for (const text of ['10.0.0.2', 'fd00::2']) {
    const address = parseAddress(text);
    ns.a.apply(setNeighbour(index, address, MAC));
    const found = ns.a.neighbours(index).find((neighbour) => addressEquals(neighbour.address, address));
    assert.deepEqual(found, { index, address, mac: MAC, permanent: true });
    assert.equal(ns.a.remove(deleteNeighbour(index, address)), true);
    assert.equal(ns.a.remove(deleteNeighbour(index, address)), false);
  }
});

test('errors name the operation, the errno and what the kernel says', () => {
  using ns = pair();
  const { index } = ns.a.link('left')!;
  const lost: Route = { destination: parseCidr('0.0.0.0/0'), gateway: parseAddress('192.0.2.1'), index };
  assert.throws(
    () => ns.a.apply(setRoute(lost)),
    (error) => {
      assert(error instanceof NetlinkError);
      assert.equal(error.code, 'NETLINK_FAILED');
      assert.equal(error.kernelMessage, 'Nexthop has invalid gateway');
      const text = `set unicast route to 0.0.0.0/0 by link ${index} (the kernel says: Nexthop has invalid gateway): ENETUNREACH`;
      assert.equal(error.message, text);
      return true;
    },
  );
  assert.throws(
    () => ns.a.apply(createVeth({ name: 'left', mtu: 1500, peer: { name: 'x' } })),
    /create veth left with peer x.*EEXIST/,
  );
  assert.throws(() => ns.a.apply(deleteLink('none')), /delete link none: ENODEV/);
});

test('a failure in the middle of a batch is reported and the rest carried out', async () => {
  using ns = pair();
  const { index } = ns.a.link('left')!;
  const add = (last: number): ReturnType<typeof addAddress> =>
    addAddress({ index, address: parseAddress(`10.9.${last >> 8}.${last & 0xff}`), prefixLength: 32 });
  const requests = Array.from({ length: 200 }, (_, i) => add(i));
  requests.splice(100, 0, deleteLink('none'));
  assert.throws(() => ns.a.apply(...requests), /delete link none: ENODEV/);
  assert.equal(ns.a.addresses(index).filter(({ address }) => address.family === 4).length, 200);
  // Calls in place while one is in flight on a worker thread: each gets its own answer.
  const gone = ns.a.removeLink('left');
  assert.equal(ns.a.link('lo')?.name, 'lo');
  assert.throws(() => ns.a.apply(deleteLink('none')), /ENODEV/);
  assert.equal(await gone, true);
});

test('a closed socket says so', () => {
  using ns = testNetns();
  const rt = Rtnetlink.open(ns);
  rt.close();
  rt.close();
  assert.throws(() => rt.links(), /netlink socket is closed/);
});
