import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { formatAddress, formatCidr, parseAddress, parseCidr } from '../model/address.ts';
import { Rtnetlink } from '../kernel/rtnetlink.ts';
import { changeLink, createVeth } from '../kernel/rtnl-link.ts';
import { setRoute } from '../kernel/rtnl-route.ts';
import { addAddress } from '../kernel/rtnl-address.ts';
import { readSysctl, writeSysctl } from '../kernel/sysctl.ts';
import { setUpNode, tearDownNode, type NodeNetworkOptions } from './node-network.ts';
import { inOwnNetns } from './own-netns.ts';

const OPTIONS: NodeNetworkOptions = {
  routers: [parseAddress('10.1.0.1'), parseAddress('fd00:1::1')],
  podCidrs: [parseCidr('10.1.0.0/24'), parseCidr('fd00:1::/64')],
  devices: [],
  routing: { mode: 'native', tunnelPort: 8472, underlay: 4, autoDirectNodeRoutes: false, throughHost: true },
};

/** A wire to the world with a default route over it. */
function uplink(links: Rtnetlink): void {
  links.apply(createVeth({ name: 'up0', mtu: 1400, peer: { name: 'up1' } }));
  const index = links.link('up0')!.index;
  links.apply(
    changeLink(links.link('up1')!.index, { up: true }),
    addAddress({ index, address: parseAddress('192.0.2.1'), prefixLength: 24 }),
    setRoute({ destination: parseCidr('0.0.0.0/0'), gateway: parseAddress('192.0.2.254'), index }),
  );
}

if (inOwnNetns(import.meta.filename)) {
  describe('the node’s network', () => {
    test('is set up, again, with other routers, and taken away', async () => {
      using links = Rtnetlink.open();
      uplink(links);
      writeSysctl('ipv6/conf/up0/accept_ra', 1);
      const first = setUpNode(OPTIONS);
      // The device and the MTU come from the default route.
      assert.deepEqual([first.devices.map(({ name }) => name), first.mtu], [['up0'], 1400]);
      const again = setUpNode(OPTIONS);
      assert.equal(again.host.index, first.host.index);
      const addresses = () => links.addresses(first.host.index).map(({ address }) => formatAddress(address));
      assert.deepEqual(addresses(), ['10.1.0.1', 'fd00:1::1']);
      assert.deepEqual([links.link('weir_host')?.up, links.link('weir_net')?.up], [true, true]);
      assert.deepEqual([readSysctl('ipv4/conf/all/forwarding'), readSysctl('ipv6/conf/all/forwarding')], ['1', '1']);
      assert.equal(readSysctl('ipv6/conf/up0/accept_ra'), '2');
      const refused = (family: 4 | 6) =>
        links.routes(family).filter(({ kind }) => kind === 'unreachable').map(({ destination }) => formatCidr(destination)); // prettier-ignore
      assert.deepEqual([refused(4), refused(6)], [['10.1.0.0/24'], ['fd00:1::/64']]);
      const toProxies = (family: 4 | 6) => links.rules(family).filter(({ mark }) => mark?.value === 0x200);
      for (const family of [4, 6] as const) {
        assert.equal(toProxies(family).length, 1, 'set up twice, there once');
        const [route] = links.routes(family, toProxies(family)[0]!.table);
        assert.deepEqual([route?.kind, route?.destination.length], ['local', 0]);
      }

      setUpNode({ ...OPTIONS, routers: [parseAddress('10.1.0.9')] });
      assert.deepEqual(addresses(), ['10.1.0.9']);

      await tearDownNode();
      await tearDownNode();
      assert.deepEqual([links.link('weir_host'), links.link('weir_net')], [undefined, undefined]);
      assert.deepEqual([refused(4), refused(6)], [[], []]);
      assert.deepEqual([toProxies(4), toProxies(6)], [[], []]);
      assert.ok(links.routes(4).some(({ destination }) => destination.length === 0));
      await links.removeLink('up0');
    });

    test('a network that pods of other nodes come by, though answers go through the tunnel, is filtered loosely', async () => {
      using links = Rtnetlink.open();
      uplink(links);
      const routing = { ...OPTIONS.routing, mode: 'tunnel' } as const;
      const set = (all: number, own: number): string => {
        writeSysctl('ipv4/conf/all/rp_filter', all);
        writeSysctl('ipv4/conf/up0/rp_filter', own);
        setUpNode({ ...OPTIONS, routing, podCidrs: OPTIONS.podCidrs.slice(0, 1) });
        return readSysctl('ipv4/conf/up0/rp_filter');
      };
      assert.deepEqual([set(0, 0), set(0, 1), set(1, 0), set(1, 2)], ['0', '2', '2', '2']);
      writeSysctl('ipv4/conf/up0/rp_filter', 1);
      setUpNode(OPTIONS);
      assert.equal(readSysctl('ipv4/conf/up0/rp_filter'), '1', 'where packets are routed it is nobody’s business');
      await tearDownNode();
      await links.removeLink('up0');
    });

    test('a device that does not exist is a fault of the configuration', () => {
      assert.throws(() => setUpNode({ ...OPTIONS, devices: ['nowhere0'] }), {
        code: 'CONFIG_INVALID',
        field: '--devices',
      });
    });

    test('nor is one without Ethernet headers, which programs would misread', () => {
      assert.throws(() => setUpNode({ ...OPTIONS, devices: ['lo'] }), {
        code: 'CONFIG_INVALID',
        message: /lo has no Ethernet headers/,
      });
    });
  });
}
