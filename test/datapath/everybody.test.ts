/** Broadcast, multicast, link-local addresses and DHCP: what becomes of each, as docs/datapath.md says. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { EVENT_DROP } from '../../bpf/gen/constants.ts';
import { DROP_REASONS } from '../../bpf/gen/drops.ts';
import { ip, type IpFrame, type Payload } from './frame.ts';
import { TestNode, type EndpointPrograms } from './node.ts';

const POD = { id: 21, identity: 1021, ipv4: '10.0.0.21', ipv6: 'fd00::21' };
const MDNS: Payload = { udp: [5353, 5353] };
const DISCOVER: Payload = { udp: [68, 67] };
const SOLICIT: Payload = { udp: [546, 547] };
const NODE_MAC = '02:00:00:00:00:01';
const [BROADCAST_MAC, GROUP_MAC] = ['ff:ff:ff:ff:ff:ff', '01:00:5e:00:00:fb'];

let node: TestNode;
let pod: EndpointPrograms;
before(async () => {
  node = await TestNode.start();
  pod = node.endpoint(POD);
  pod.allow({ direction: 'egress' }, { direction: 'ingress' });
  node.events();
});
after(() => node[Symbol.dispose]());

/** The verdict, the counter that moved, and whether there was an event for a drop. */
async function fate(run: () => { verdict: string }): Promise<string> {
  const before = await node.counters();
  node.events();
  const { verdict } = run();
  const after = await node.counters();
  const moved = Object.keys(after).filter((name) => after[name] !== before[name]);
  const drops = node.events().filter(({ type }) => type === EVENT_DROP);
  const reported = drops.map(({ reason }) => `, reported as ${DROP_REASONS.get(reason)!.name}`);
  return `${verdict}: ${moved.join(', ')}${reported.join('')}`;
}

const STAYS = 'drop: egress DROP_LINK_LOCAL, reported as DROP_LINK_LOCAL';
const QUIET = 'drop: ingress DROP_LINK_LOCAL';
const PASSES = 'ok: egress DROP_NONE';

describe('what a pod sends', () => {
  const cases: readonly (readonly [what: string, frame: IpFrame, fate: string])[] = [
    ['the limited broadcast', { from: POD.ipv4, to: '255.255.255.255', payload: MDNS }, STAYS],
    ['an IPv4 group of the link', { from: POD.ipv4, to: '224.0.0.251', payload: MDNS }, STAYS],
    ['an IPv4 group of an organisation', { from: POD.ipv4, to: '239.1.2.3', payload: MDNS }, STAYS],
    ['an IPv6 group of the link', { from: POD.ipv6, to: 'ff02::fb', payload: MDNS }, STAYS],
    ['the same, from an address of the link', { from: 'fe80::21', to: 'ff02::fb', payload: MDNS }, STAYS],
    ['an IPv6 group of a site', { from: POD.ipv6, to: 'ff05::1:3', payload: MDNS }, STAYS],
    ['a neighbour by its address of the link', { from: 'fe80::21', to: 'fe80::1', payload: MDNS }, STAYS],
    ['DHCP, which has no address yet', { from: '0.0.0.0', to: '255.255.255.255', payload: DISCOVER }, STAYS],
    ['DHCPv6', { from: 'fe80::21', to: 'ff02::1:2', payload: SOLICIT }, STAYS],
    [
      'anything else from an address of the link',
      { from: 'fe80::21', to: '2001:db8::9', payload: MDNS },
      'drop: egress DROP_INVALID_SOURCE_IP, reported as DROP_INVALID_SOURCE_IP',
    ],
    [
      'the metadata of a cloud',
      { from: POD.ipv4, to: '169.254.169.254', payload: { tcp: [4000, 80], flags: 2 } },
      PASSES,
    ],
    ['loopback, where route_localnet may be set', { from: POD.ipv4, to: '127.0.0.1', payload: MDNS }, STAYS],
    ['the same of IPv6', { from: POD.ipv6, to: '::1', payload: MDNS }, STAYS],
    ['no address', { from: POD.ipv4, to: '0.0.0.0', payload: MDNS }, STAYS],
    ['the last address of a prefix', { from: POD.ipv4, to: '198.51.100.255', payload: MDNS }, PASSES],
  ];
  for (const [what, frame, expected] of cases) {
    test(what, async () => assert.equal(await fate(() => pod.run('from_container', ip(frame))), expected));
  }
});

describe('what the node’s stack sends towards a pod', () => {
  for (const [what, to, from] of [
    ['the limited broadcast', '255.255.255.255', '10.0.0.1'],
    ['an IPv4 group', '224.0.0.251', '10.0.0.1'],
    ['an IPv6 group', 'ff02::fb', 'fd00::1'],
    ['an address of the link', 'fe80::21', 'fe80::1'],
  ] as const) {
    test(`${what}: dropped, without an event`, async () => {
      assert.equal(await fate(() => pod.run('to_container', ip({ from, to, payload: MDNS }))), QUIET);
    });
  }
});

describe('what the network sends to everybody is for the node alone', () => {
  for (const [what, to, mac] of [
    ['a broadcast', '192.0.2.255', BROADCAST_MAC],
    ['a broadcast with the address of a pod in it', POD.ipv4, BROADCAST_MAC],
    ['a group', '224.0.0.251', GROUP_MAC],
    ['DHCP for the node', '255.255.255.255', BROADCAST_MAC],
  ] as const) {
    test(what, () => {
      const frame = ip({ from: '192.0.2.9', to, payload: MDNS, macs: { to: mac, from: NODE_MAC } });
      assert.equal(node.runHost('from_netdev', frame).verdict, 'next');
    });
  }
});
