/** Node ports of other nodes, packet by packet: the pod's own node translates, and answers come from the node that was asked. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { PROTOCOL } from '../../agent/model/port.ts';
import { LB_NODE_PORT } from '../../bpf/gen/constants.ts';
import { ip, quoteOf, TCP, type Payload } from './frame.ts';
import { TestNode, type EndpointPrograms, type Ran } from './node.ts';
import * as on from './services.ts';
import { BACKEND_PORT, ends, headerBytes, hexOf, SERVICE_PORT, summed, transportSum } from './services.ts';

const POD = { id: 11, identity: 2011, ipv4: '10.0.0.11', ipv6: 'fd00::11' } as const;
const REMOTE = { identity: 3001, ipv4: '10.1.0.1', ipv6: 'fd01::1' } as const;
const ANY = { ipv4: '0.0.0.0', ipv6: '::' } as const;
const OWN_NODE = { ipv4: '192.0.2.1', ipv6: '2001:db8::1' } as const;
const OTHER_NODE = { ipv4: '192.0.2.2', ipv6: '2001:db8::2' } as const;
const API_SERVER = { ipv4: '192.0.2.3', ipv6: '2001:db8::3' } as const;
const WORLD = { ipv4: '203.0.113.7', ipv6: '2001:db8:9::7' } as const;
const NODES = [
  { name: 'this node', addresses: OWN_NODE, identity: 1 },
  { name: 'another node', addresses: OTHER_NODE, identity: 6 },
  { name: 'a node with an API server', addresses: API_SERVER, identity: 7 },
] as const;
const SERVICE = 9;

let node: TestNode;
let pod: EndpointPrograms;

before(async () => {
  node = await TestNode.start();
  pod = node.endpoint(POD);
  pod.allow({ direction: 'egress' });
  for (const family of ['ipv4', 'ipv6'] as const) {
    node.ipcache(REMOTE[family], REMOTE.identity);
    for (const { addresses, identity } of NODES) node.ipcache(addresses[family], identity);
  }
});
after(() => node[Symbol.dispose]());

for (const family of ['ipv4', 'ipv6'] as const) {
  for (const protocol of ['tcp', 'udp'] as const) {
    describe(`${protocol} over ${family}`, () => {
      const number = protocol === 'tcp' ? PROTOCOL.TCP : PROTOCOL.UDP;
      const anywhere = { address: ANY[family], protocol: number, id: SERVICE, backends: [1], kind: LB_NODE_PORT };
      const payload = (ports: readonly [number, number], flags: number = TCP.syn): Payload =>
        protocol === 'tcp' ? { tcp: ports, flags } : { udp: ports };
      const ask = (address: string, port: number, flags: number = TCP.syn, to = SERVICE_PORT): Ran =>
        pod.run('from_container', summed(POD[family], address, payload([port, to], flags)));
      const answer = (port: number): Ran =>
        pod.run(
          'policy_ingress',
          summed(REMOTE[family], POD[family], payload([BACKEND_PORT, port], TCP.syn | TCP.ack)),
          { sourceIdentity: REMOTE.identity },
        );
      const toBackend = (port: number): string =>
        `${hexOf(POD[family])}:${port} ${hexOf(REMOTE[family])}:${BACKEND_PORT}`;
      const assertUntouched = (address: string, port: number, to?: number): void => {
        const frame = summed(POD[family], address, payload([port, to ?? SERVICE_PORT], TCP.syn));
        assert.deepEqual(ask(address, port, TCP.syn, to).frame, frame);
      };

      beforeEach(async () => {
        await on.forgetServices(node);
        on.backend(node, 1, REMOTE[family], number);
        on.serve(node, anywhere);
      });

      for (const { name, addresses } of NODES) {
        test(`what goes to ${name} goes to a backend, and its answers come from the node that was asked`, () => {
          const asked = addresses[family];
          for (const flags of [TCP.syn, TCP.ack, TCP.ack]) {
            const sent = ask(asked, 4000, flags);
            assert.equal(sent.verdict, 'ok');
            assert.equal(ends(sent.frame), toBackend(4000));
            assert.equal(transportSum(sent.frame, number), 0);
            const got = answer(4000);
            assert.equal(got.verdict, 'redirect');
            assert.equal(ends(got.frame), `${hexOf(asked)}:${SERVICE_PORT} ${hexOf(POD[family])}:4000`);
            assert.equal(transportSum(got.frame, number), 0);
          }
        });
      }

      test('each connection is answered by the node that it asked', () => {
        for (const [i, { addresses }] of NODES.entries()) ask(addresses[family], 4100 + i);
        for (const [i, { addresses }] of NODES.entries()) {
          assert.equal(ends(answer(4100 + i).frame).split(' ')[0], `${hexOf(addresses[family])}:${SERVICE_PORT}`);
        }
        ask(OTHER_NODE[family], 4100);
        assert.equal(ends(answer(4100).frame).split(' ')[0], `${hexOf(OTHER_NODE[family])}:${SERVICE_PORT}`, 'anew');
      });

      test('an address that is no node, another port and no address at all are no node port', () => {
        assertUntouched(WORLD[family], 4200);
        assertUntouched(REMOTE[family], 4201);
        assertUntouched(OTHER_NODE[family], 4202, SERVICE_PORT + 1);
        assertUntouched(ANY[family], 4203);
        const frame = summed(WORLD[family], ANY[family], payload([4204, SERVICE_PORT]));
        const ran = node.runHost('from_netdev', frame);
        assert.equal(ran.verdict, 'next', 'nor for clients from outside');
        assert.deepEqual(ran.frame, frame);
      });

      test('what clients from outside ask another node for is not translated here', () => {
        const frame = summed(WORLD[family], OTHER_NODE[family], payload([4205, SERVICE_PORT]));
        assert.deepEqual(node.runHost('from_netdev', frame).frame, frame);
      });

      test('a frontend with that address goes before', () => {
        on.backend(node, 2, POD[family], number);
        on.serve(node, { ...anywhere, address: OTHER_NODE[family], id: 10, backends: [] });
        const reasons = ask(OTHER_NODE[family], 4300);
        assert.equal(reasons.verdict, 'redirect', 'the answer that nobody listens');
      });

      test('without a backend the pod hears that nobody listens', () => {
        on.serve(node, { ...anywhere, backends: [] });
        const { verdict, frame } = ask(OTHER_NODE[family], 4301);
        assert.equal(verdict, 'redirect');
        on.assertUnreachable(frame, { from: OTHER_NODE[family], to: POD[family], port: 4301, protocol: number });
      });

      test('a pod that is its own backend is answered by the node that it asked', () => {
        const nobody = family === 'ipv4' ? '169.254.42.1' : '100::a9fe:2a01';
        on.backend(node, 1, POD[family], number);
        assert.equal(ask(OTHER_NODE[family], 4400).verdict, 'redirect');
        const back = pod.run('from_container', summed(POD[family], nobody, payload([BACKEND_PORT, 4400])));
        assert.equal(ends(back.frame), `${hexOf(OTHER_NODE[family])}:${SERVICE_PORT} ${hexOf(POD[family])}:4400`);
      });

      test('an ICMP error quotes the node that was asked', () => {
        const sent = ask(OTHER_NODE[family], 4500);
        const quote = quoteOf(sent.frame, headerBytes(sent.frame) + 20);
        const error = { type: family === 'ipv4' ? 3 : 1, code: 1, quote };
        const from = family === 'ipv4' ? '172.16.0.1' : 'fd99::1';
        const got = pod.run('policy_ingress', ip({ from, to: POD[family], payload: { icmp: error } }));
        assert.equal(got.verdict, 'redirect');
        const inner = got.frame.subarray(14 + headerBytes(got.frame) + 8);
        assert.equal(
          ends(Buffer.concat([got.frame.subarray(0, 14), inner])),
          `${hexOf(POD[family])}:4500 ${hexOf(OTHER_NODE[family])}:${SERVICE_PORT}`,
        );
      });

      test('when it is forgotten who was asked, answers drop until the client asks again', async () => {
        ask(OTHER_NODE[family], 4600);
        for await (const { key } of node.maps.weir_lb_asked.entries()) node.maps.weir_lb_asked.delete(key);
        const before = await node.counters();
        assert.equal(answer(4600).verdict, 'drop');
        const now = await node.counters();
        const reason = 'ingress DROP_NO_SERVICE';
        assert.equal((now[reason] ?? 0) - (before[reason] ?? 0), 1);
        ask(OTHER_NODE[family], 4600, TCP.ack);
        assert.equal(answer(4600).verdict, 'redirect');
      });
    });
  }
}
