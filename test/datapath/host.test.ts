/** The node as an endpoint: what its devices bring for it, and what it sends by them. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { LB_NODE_PORT } from '../../bpf/gen/constants.ts';
import { encode, u32 } from '../../bpf/gen/structs.ts';
import { ip, TCP, type Payload } from './frame.ts';
import { ruleBytes, TestNode, type TestRule } from './node.ts';
import { RoutedNetns } from './routed-netns.ts';
import * as on from './services.ts';

const HOST_ENDPOINT = 65535;
const HOST = { ipv4: '192.0.2.1', ipv6: '2001:db8::1' } as const;
const PEER = { identity: 3000, ipv4: '192.0.2.9', ipv6: '2001:db8::9' } as const;
const POD = { id: 5, identity: 1005, ipv4: '10.0.0.5', ipv6: 'fd00::5' } as const;
/** Any device that brought a packet here. */
const SOME_DEVICE = 7;
/** Of a service. */
const EXTERNAL = { ipv4: '198.51.100.8', ipv6: '2001:db8:5::8' } as const;

let node: TestNode;
before(async () => {
  node = await TestNode.start({ hostFirewall: true, endpointId: HOST_ENDPOINT, endpointIdentity: 1, tunnelPort: 8472 });
  for (const family of ['ipv4', 'ipv6'] as const) {
    node.ipcache(HOST[family], 1);
    node.ipcache(PEER[family], PEER.identity);
    node.local(POD[family], POD);
    node.ipcache(POD[family], POD.identity);
  }
});
after(() => node[Symbol.dispose]());

let rules: TestRule[] = [];
beforeEach(async () => {
  for (const rule of rules.splice(0)) node.maps.weir_policy.delete(ruleBytes(rule)[0]);
  await node.forgetConnections();
});

function allow(...added: TestRule[]): void {
  rules.push(...added);
  for (const rule of added) node.maps.weir_policy.update(...ruleBytes(rule));
  node.raiseRevision(HOST_ENDPOINT);
}

function revoke(...gone: TestRule[]): void {
  for (const rule of gone) node.maps.weir_policy.delete(ruleBytes(rule)[0]);
  rules = rules.filter((rule) => !gone.includes(rule));
  node.raiseRevision(HOST_ENDPOINT);
}

for (const family of ['ipv4', 'ipv6'] as const) {
  const comes = (payload: Payload, from: string = PEER[family], to: string = HOST[family]): string =>
    node.runHost('from_netdev', ip({ from, to, payload })).verdict;
  const leaves = (payload: Payload, ingressIfindex = 0, from: string = HOST[family]): string =>
    node.runHost('to_netdev', ip({ from, to: PEER[family], payload }), { ingressIfindex }).verdict;
  const syn = (from: number, to: number): Payload => ({ tcp: [from, to], flags: TCP.syn });
  const ack = (from: number, to: number): Payload => ({ tcp: [from, to], flags: TCP.ack });

  describe(`host firewall, ${family}`, () => {
    test('what comes for the node is denied until allowed, and replies to it may leave', () => {
      assert.equal(comes(syn(4000, 22)), 'drop');
      const ssh: TestRule = { direction: 'ingress', identity: PEER.identity, protocol: 6, port: 22 };
      allow(ssh);
      assert.equal(comes(syn(4000, 22)), 'next');
      assert.equal(comes(syn(4000, 23)), 'drop');
      assert.equal(leaves({ tcp: [22, 4000], flags: TCP.syn | TCP.ack }), 'next');
      assert.equal(leaves(syn(22, 4001)), 'drop', 'a connection of its own');
      revoke(ssh);
      assert.equal(comes(ack(4000, 22)), 'drop', 'a connection that is no longer allowed stops');
    });

    test('what the node sends is denied until allowed, and replies to it may come in', () => {
      assert.equal(leaves(syn(5000, 443)), 'drop');
      assert.equal(comes(ack(443, 5000)), 'drop');
      allow({ direction: 'egress', identity: PEER.identity, protocol: 6, port: 443 });
      assert.equal(leaves(syn(5000, 443)), 'next');
      assert.equal(comes({ tcp: [443, 5000], flags: TCP.syn | TCP.ack }), 'next');
      assert.equal(comes(syn(443, 5000)), 'drop', 'nobody gets in by answering');
    });

    test('what the node forwards under its own address is not its own, and its replies come in', () => {
      assert.equal(comes(ack(443, 6000)), 'drop');
      assert.equal(leaves(syn(6000, 443), SOME_DEVICE), 'next');
      assert.equal(comes(ack(443, 6000)), 'next');
      node.raiseRevision(0);
      assert.equal(comes(ack(443, 6000)), 'next', 'whatever policy says since');
      assert.equal(comes(ack(443, 6001)), 'drop');
    });

    test('what the node would route on is not for it, but an address of its own that nobody has announced is', () => {
      using away = new RoutedNetns();
      const unannounced = family === 'ipv4' ? '198.51.100.1' : '2001:db8:7::1';
      away.ns.ip(`addr add ${unannounced}/${family === 'ipv4' ? 32 : 128} dev ext0`);
      const mac = /link\/ether (\S+)/.exec(away.ns.ip('-o link show ext0'))![1]!;
      const brings = (to: string): string => {
        const macs = { to: mac, from: '02:00:00:00:00:01' };
        const frame = ip({ from: PEER[family], to, macs, payload: syn(4000, 22) });
        return away.run(() => node.runHost('from_netdev', frame, { ifindex: away.ext0, ingressIfindex: away.ext0 }))
          .verdict;
      };
      assert.equal(brings(family === 'ipv4' ? '203.0.113.50' : '2001:db8:8::50'), 'next');
      assert.equal(brings(unannounced), 'drop');
    });

    test('what pods send is judged by their own policies', () => {
      assert.equal(leaves(syn(6000, 443), SOME_DEVICE, POD[family]), 'next');
      assert.equal(leaves(syn(6000, 443), 0, POD[family]), 'next', 'a proxy in a pod’s name');
    });

    test('what a pod of the node sends to it is judged twice, answers to the node are not', () => {
      const own = node.endpoint(POD);
      own.allow({ direction: 'ingress' }, { direction: 'egress' });
      const sends = (payload: Payload): string =>
        own.run('from_container', ip({ from: POD[family], to: HOST[family], payload })).verdict;
      const call = encode(u32, HOST_ENDPOINT);
      node.maps.weir_call_policy.delete(call);
      assert.equal(sends(syn(7000, 22)), 'ok', 'no host firewall');
      node.maps.weir_call_policy.update(call, encode(u32, node.host.program('host_policy').fd));
      assert.equal(sends(ack(7000, 22)), 'drop', 'the same connection, and now there is one');
      node.events();
      assert.equal(sends(syn(7001, 22)), 'drop');
      const [drop] = node.events().filter(({ type }) => type === 1);
      assert.deepEqual(
        [drop?.endpoint, drop?.sourceIdentity, drop?.destinationIdentity],
        [HOST_ENDPOINT, POD.identity, 1],
      );
      allow({ direction: 'ingress', identity: POD.identity, protocol: 6, port: 22 });
      assert.equal(sends(syn(7001, 22)), 'ok');
      assert.equal(sends(syn(7002, 23)), 'drop');
      const asked = ip({ from: HOST[family], to: POD[family], payload: syn(5000, 8080) });
      assert.equal(own.run('to_container', asked).verdict, 'ok');
      assert.equal(sends({ tcp: [8080, 5000], flags: TCP.syn | TCP.ack }), 'ok');
      own.revoke({ direction: 'egress' });
      node.raiseRevision(POD.id);
      assert.equal(sends(ack(7001, 22)), 'drop', 'the policy of the pod comes first');
    });

    test('neighbours, leases and the tunnel are left alone', () => {
      const dhcp: Payload = { udp: family === 'ipv4' ? [67, 68] : [547, 546] };
      assert.equal(comes(dhcp), 'next');
      assert.equal(comes({ udp: [50_000, 8472] }), 'next');
      assert.equal(comes({ udp: [50_000, 8473] }), 'drop');
      if (family === 'ipv6') assert.equal(comes({ icmp: { type: 135 } }), 'next');
      assert.equal(comes({ udp: [5353, 5353] }, PEER[family], family === 'ipv4' ? '224.0.0.251' : 'ff02::fb'), 'next');
    });

    test('a client of a service whose backend is a socket of the node is judged there, and answered by the frontend', () => {
      const service = { protocol: 6, backends: [1], kind: LB_NODE_PORT, address: EXTERNAL[family], id: 9 };
      on.backend(node, 1, HOST[family], 6);
      on.serve(node, service);
      const ask = on.summed(PEER[family], EXTERNAL[family], syn(7000, on.SERVICE_PORT));
      assert.equal(node.runHost('from_netdev', ask).verdict, 'drop');
      allow({ direction: 'ingress', identity: PEER.identity, protocol: 6, port: on.BACKEND_PORT });
      assert.equal(node.runHost('from_netdev', ask).verdict, 'next');
      const answer = on.summed(HOST[family], PEER[family], ack(on.BACKEND_PORT, 7000));
      const { verdict, frame } = node.runHost('to_netdev', answer);
      assert.equal(verdict, 'next');
      assert.equal(on.ends(frame), `${on.hexOf(EXTERNAL[family])}:${on.SERVICE_PORT} ${on.hexOf(PEER[family])}:7000`);
      assert.equal(on.transportSum(frame, 6), 0);
    });

    test('drops name the host as the endpoint that was asked', () => {
      node.events();
      assert.equal(comes(syn(4000, 25)), 'drop');
      const drops = node.events().filter(({ type }) => type === 1);
      assert.deepEqual(
        drops.map(({ endpoint, sourceIdentity, destinationIdentity }) => [
          endpoint,
          sourceIdentity,
          destinationIdentity,
        ]),
        [[HOST_ENDPOINT, PEER.identity, 1]],
      );
    });
  });
}
