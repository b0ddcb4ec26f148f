import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { describe, test } from 'node:test';
import { formatAddress, formatCidr, parseAddress } from '../model/address.ts';
import type { LinkRequest } from '../model/datapath.ts';
import { Netns } from '../kernel/netns.ts';
import { Rtnetlink } from '../kernel/rtnetlink.ts';
import { readSysctl } from '../kernel/sysctl.ts';
import { testNetns } from '../kernel/testbed.ts';
import { Devices } from './devices.ts';
import { inOwnNetns } from './own-netns.ts';

function request(netns: Netns, extra: Partial<LinkRequest> = {}): LinkRequest {
  return {
    netns: `/proc/self/fd/${netns.fd}`,
    containerIfName: 'eth0',
    hostIfName: 'wr0123456789',
    addresses: [parseAddress('10.1.0.5'), parseAddress('fd00:1::5')],
    gateways: [parseAddress('10.1.0.1'), parseAddress('fd00:1::1')],
    mtu: 1450,
    ...extra,
  };
}

/** Every link of the node but the loopback. */
function nodeLinks(): string[] {
  using node = Rtnetlink.open();
  return node
    .links()
    .map(({ name }) => name)
    .filter((name) => name !== 'lo');
}

const ROUTES = {
  4: ['0.0.0.0/0 via 10.1.0.1', '10.1.0.1/32'],
  6: ['::/0 via fd00:1::1', 'fd00:1::1/128', 'fd00:1::5/128'],
} as const;

if (inOwnNetns(import.meta.filename)) {
  describe('Devices', () => {
    test('a pod gets its interface, addresses and routes; the host end waits, down', async () => {
      using pod = testNetns();
      using inside = Rtnetlink.open(pod);
      using devices = new Devices();
      const link = await devices.createLink(request(pod));
      const eth0 = inside.link('eth0')!;
      assert.equal(eth0.index, link.containerIfIndex);
      assert.equal(eth0.mtu, 1450);
      assert.deepEqual(eth0.mac, link.containerMac);
      assert.equal(inside.link('lo')?.up, true);
      for (const family of [4, 6] as const) {
        const text = inside
          .routes(family)
          .filter(({ destination }) => !formatCidr(destination).startsWith('fe80'))
          .map(
            ({ destination, gateway }) =>
              `${formatCidr(destination)}${gateway ? ` via ${formatAddress(gateway)}` : ''}`,
          );
        assert.deepEqual(text.sort(), [...ROUTES[family]]);
      }
      assert.equal(readSysctl('ipv6/conf/eth0/accept_dad', pod), '0');
      assert.equal(readSysctl('ipv6/conf/wr0123456789/addr_gen_mode'), '1');
      const before = await devices.status(link, `/proc/self/fd/${pod.fd}`);
      assert.equal(before.hostUp, false);
      assert.deepEqual(before.container?.addresses.map(formatAddress), ['10.1.0.5', 'fd00:1::5']);

      await devices.open(link, request(pod).addresses, []);
      assert.equal((await devices.status(link, `/proc/self/fd/${pod.fd}`)).hostUp, true);
      using node = Rtnetlink.open();
      assert.deepEqual(node.routes(4).map(({ destination }) => formatCidr(destination)), ['10.1.0.5/32']); // prettier-ignore
      assert.equal(node.neighbours(link.hostIfIndex).filter(({ permanent }) => permanent).length, 2);
      await devices.closeRoutes(request(pod).addresses);
      await devices.closeRoutes(request(pod).addresses);
      assert.deepEqual(node.routes(4), []);

      await devices.deleteLink(link.hostIfName);
      await devices.deleteLink(link.hostIfName);
      assert.deepEqual(nodeLinks(), []);
      assert.deepEqual(await devices.status(link, `/proc/self/fd/${pod.fd}`), { hostUp: false });
    });

    test('stale links of either name are replaced', async () => {
      using pod = testNetns();
      using devices = new Devices();
      const first = await devices.createLink(request(pod));
      const second = await devices.createLink(request(pod));
      assert.notEqual(first.hostIfIndex, second.hostIfIndex);
      // Another name on the host, but the same inside.
      await devices.createLink(request(pod, { hostIfName: 'wrabc' }));
      assert.deepEqual(nodeLinks(), ['wrabc']);
      await devices.deleteLink('wrabc');
    });

    test('a failure at any step leaves nothing', async () => {
      using pod = testNetns();
      using devices = new Devices();
      const refused: [Partial<LinkRequest>, object][] = [
        [{ netns: '/run/netns/weir-does-not-exist' }, { code: 'NETNS_NOT_FOUND' }],
        [{ netns: '/proc/self/ns/net' }, { code: 'NETNS_NOT_FOUND' }],
        [{ netns: '/proc/self/ns/mnt' }, { code: 'NETNS_NOT_FOUND' }],
        [{ containerIfName: 'lo' }, { code: 'REQUEST_INVALID', field: 'container-interface-name' }],
        [{ containerIfName: 'a/b' }, { code: 'REQUEST_INVALID' }],
        [{ mtu: 1 }, { code: 'NETLINK_FAILED' }],
        // The pair stands by then: a gateway cannot be the pod itself, and multicast is no address of an interface.
        [{ gateways: [parseAddress('fd00:1::5')] }, { code: 'NETLINK_FAILED' }],
        [{ addresses: [parseAddress('ff02::1')] }, { code: 'NETLINK_FAILED' }],
      ];
      for (const [extra, error] of refused) {
        await assert.rejects(devices.createLink(request(pod, extra)), error, JSON.stringify(extra));
        assert.deepEqual(nodeLinks(), [], JSON.stringify(extra));
        using inside = Rtnetlink.open(pod);
        assert.equal(inside.link('eth0'), undefined);
      }
    });

    test('a path that now names another namespace is not the pod', async () => {
      using pod = testNetns();
      using other = testNetns();
      using devices = new Devices();
      const link = await devices.createLink(request(pod));
      assert.equal((await devices.status(link, `/proc/self/fd/${other.fd}`)).container, undefined);
      await devices.deleteLink(link.hostIfName);
      assert.equal(existsSync(`/proc/sys/net/ipv4/conf/${link.hostIfName}`), false);
    });
  });
}
