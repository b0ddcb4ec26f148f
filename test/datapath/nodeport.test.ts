/** Services for clients from outside, packet by packet: at the node's device, and back from the pod. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { PROTOCOL } from '../../agent/model/port.ts';
import { LB_EXTERNAL_IP, LB_HOST_PORT, LB_LOAD_BALANCER, LB_MAGLEV, LB_NODE_PORT } from '../../bpf/gen/constants.ts';
import { LB_MAGLEV_CHUNK, LB_SCOPE_EXTERNAL, LB_SOURCE_RANGES, LB_TWO_SCOPES } from '../../bpf/gen/constants.ts';
import { encode, lbMaglevKey } from '../../bpf/gen/structs.ts';
import { ip, quoteOf, TCP, type Payload } from './frame.ts';
import { TestNode, type EndpointPrograms, type Ran } from './node.ts';
import * as on from './services.ts';
import { assertUnreachable, BACKEND_PORT, ends, hexOf, SERVICE_PORT, summed, transportSum } from './services.ts';

const POD = { id: 11, identity: 2011, ipv4: '10.0.0.11', ipv6: 'fd00::11' } as const;
const OTHER = { id: 12, identity: 2012, ipv4: '10.0.0.12', ipv6: 'fd00::12' } as const;
const NODE = { ipv4: '192.0.2.1', ipv6: '2001:db8::1' } as const;
const CLIENT = { ipv4: '203.0.113.7', ipv6: '2001:db8:9::7' } as const;
/** On the way to the client. */
const ROUTER = { ipv4: '192.0.2.254', ipv6: '2001:db8::fe' } as const;
/** Another address of the node, where one of its sockets listens. */
const OWN = { ipv4: '192.0.2.66', ipv6: '2001:db8::66' } as const;
const SERVICE = 9;

let node: TestNode;
let pod: EndpointPrograms;

before(async () => {
  node = await TestNode.start();
  pod = node.endpoint(POD);
  const other = node.endpoint(OTHER);
  for (const address of Object.values(OWN)) node.ipcache(address, 1);
  for (const programs of [pod, other]) programs.allow({ direction: 'ingress' }, { direction: 'egress' });
});
after(() => node[Symbol.dispose]());

for (const family of ['ipv4', 'ipv6'] as const) {
  for (const protocol of ['tcp', 'udp'] as const) {
    describe(`${protocol} over ${family}`, () => {
      const number = protocol === 'tcp' ? PROTOCOL.TCP : PROTOCOL.UDP;
      const service = { address: NODE[family], protocol: number, id: SERVICE, backends: [1], kind: LB_NODE_PORT };
      const payload = (ports: readonly [number, number], flags: number = TCP.syn): Payload =>
        protocol === 'tcp' ? { tcp: ports, flags } : { udp: ports };
      const come = (port: number, flags?: number, from: string = CLIENT[family]): Ran =>
        node.runHost('from_netdev', summed(from, NODE[family], payload([port, SERVICE_PORT], flags)));
      const counted = async (run: () => unknown): Promise<string[]> => {
        const before = await node.counters();
        run();
        const now = await node.counters();
        return Object.keys(now).filter((key) => now[key] !== before[key] && !key.endsWith('DROP_NONE'));
      };
      /** Which backend a packet went to: 1 or 2. */
      const backendOf = ({ frame }: Ran): number => (ends(frame).split(' ')[1]!.startsWith(hexOf(POD[family])) ? 1 : 2);

      beforeEach(async () => {
        await on.forgetServices(node);
        on.backend(node, 1, POD[family], number);
        on.backend(node, 2, OTHER[family], number);
      });

      test('goes to a pod with the address of its client, by a node port and by a host port', () => {
        for (const kind of [LB_NODE_PORT, LB_HOST_PORT]) {
          on.serve(node, { ...service, kind });
          const ran = come(4000);
          assert.equal(ran.verdict, 'redirect');
          assert.equal(ends(ran.frame), `${hexOf(CLIENT[family])}:4000 ${hexOf(POD[family])}:${BACKEND_PORT}`);
          assert.equal(transportSum(ran.frame, number), 0);
        }
      });

      test("and the pod's answer comes from the frontend", async () => {
        on.serve(node, service);
        come(4001);
        const connections = await node.connections();
        assert.deepEqual(
          connections.map(({ direction, remotePort, localPort }) => [direction, remotePort, localPort]),
          [['ingress', 4001, BACKEND_PORT]],
        );
        const answer = summed(POD[family], CLIENT[family], payload([BACKEND_PORT, 4001], TCP.syn | TCP.ack));
        // Nothing routes to the client here: the answer is readdressed, and then there is no way for it.
        const ran = pod.run('from_container', answer);
        assert.equal(ends(ran.frame), `${hexOf(NODE[family])}:${SERVICE_PORT} ${hexOf(CLIENT[family])}:4001`);
        assert.equal(transportSum(ran.frame, number), 0);
      });

      test('a pod that is asked directly answers as itself, also from the same port', () => {
        on.serve(node, service);
        come(4002);
        const direct = summed(CLIENT[family], POD[family], payload([4002, BACKEND_PORT]));
        assert.equal(node.runHost('from_netdev', direct).verdict, 'redirect');
        const answer = summed(POD[family], CLIENT[family], payload([BACKEND_PORT, 4002], TCP.syn | TCP.ack));
        const ran = pod.run('from_container', answer);
        assert.equal(ran.verdict, 'ok');
        assert.deepEqual(ran.frame, answer);
      });

      test('what goes to no frontend is left to the host', () => {
        on.serve(node, service);
        const frame = summed(CLIENT[family], NODE[family], payload([4003, 81]));
        const ran = node.runHost('from_netdev', frame);
        assert.equal(ran.verdict, 'next');
        assert.deepEqual(ran.frame, frame);
        const loopback = family === 'ipv4' ? '127.0.0.1' : '::1';
        on.serve(node, { ...service, address: loopback, id: 10 });
        const spoofed = summed(CLIENT[family], loopback, payload([4003, SERVICE_PORT]));
        assert.equal(node.runHost('from_netdev', spoofed).verdict, 'next', "loopback is the host's own sockets'");
      });

      test('cluster addresses are not for the world', async () => {
        on.serve(node, { ...service, kind: 0 });
        assert.deepEqual(await counted(() => come(4004)), ['ingress DROP_IS_CLUSTER_IP']);
      });

      test('source ranges decide who may come', async () => {
        const ranges = family === 'ipv4' ? ['203.0.113.0/24'] : ['2001:db8:9::/48'];
        const flags = LB_SOURCE_RANGES;
        on.serve(node, { ...service, kind: LB_LOAD_BALANCER, flags, sourceRanges: ranges });
        assert.equal(come(4005).verdict, 'redirect');
        const stranger = family === 'ipv4' ? '198.51.100.9' : '2001:db8:8::9';
        const run = () => assert.equal(come(4005, TCP.syn, stranger).verdict, 'drop');
        assert.deepEqual(await counted(run), ['ingress DROP_NOT_IN_SOURCE_RANGE']);
      });

      test('clients from outside have backends of their own where the service says so', () => {
        on.serve(node, { ...service, backends: [1], flags: LB_TWO_SCOPES });
        on.serve(node, { ...service, backends: [2], flags: LB_TWO_SCOPES, scope: LB_SCOPE_EXTERNAL });
        for (let port = 4100; port < 4110; port++) assert.equal(backendOf(come(port)), 2);
      });

      test('a service without backends for clients from outside, and one in the name of a pod: dropped', async () => {
        on.serve(node, { ...service, flags: LB_TWO_SCOPES });
        assert.deepEqual(await counted(() => come(4000)), ['ingress DROP_NO_SERVICE']);
        on.serve(node, service);
        assert.deepEqual(await counted(() => come(4000, TCP.syn, POD[family])), ['ingress DROP_INVALID_SOURCE_IP']);
      });

      test('Maglev sends the same client ports the same way, whatever is remembered', async () => {
        const external = { ...service, kind: LB_EXTERNAL_IP, backends: [1, 2], flags: LB_MAGLEV | LB_TWO_SCOPES };
        const write = (odd: number, even: number): void => {
          const values = Buffer.alloc(LB_MAGLEV_CHUNK * 4);
          for (let i = 0; i < LB_MAGLEV_CHUNK; i++) values.writeUInt32LE(i % 2 === 0 ? even : odd, i * 4);
          for (let chunk = 0; chunk < 128; chunk++) {
            node.maps.weir_lb_maglev.update(encode(lbMaglevKey, { service: SERVICE, chunk }), values);
          }
        };
        on.serve(node, external);
        on.serve(node, { ...external, scope: LB_SCOPE_EXTERNAL });
        write(1, 2);
        const ports = Array.from({ length: 60 }, (_, i) => 5000 + i);
        const first = ports.map((port) => backendOf(come(port)));
        assert.ok(new Set(first).size === 2, 'both are chosen');
        for await (const { key } of node.maps.weir_lb_flows.entries()) node.maps.weir_lb_flows.delete(key);
        assert.deepEqual(
          ports.map((port) => backendOf(come(port))),
          first,
        );
        for await (const { key } of node.maps.weir_lb_flows.entries()) node.maps.weir_lb_flows.delete(key);
        write(2, 1);
        assert.deepEqual(
          ports.map((port) => 3 - backendOf(come(port))),
          first,
          'the table decides',
        );
      });

      test("a socket of the node gets its client's address, and answers as the frontend", () => {
        on.serve(node, service);
        on.backend(node, 1, OWN[family], number);
        const answer = summed(OWN[family], CLIENT[family], payload([BACKEND_PORT, 4200], TCP.syn | TCP.ack));
        assert.deepEqual(node.runHost('to_netdev', answer).frame, answer, 'nobody has asked yet');
        const ran = come(4200);
        assert.equal(ran.verdict, 'next');
        assert.equal(ends(ran.frame), `${hexOf(CLIENT[family])}:4200 ${hexOf(OWN[family])}:${BACKEND_PORT}`);
        assert.equal(transportSum(ran.frame, number), 0);
        const answered = node.runHost('to_netdev', answer);
        assert.equal(answered.verdict, 'next');
        assert.equal(ends(answered.frame), `${hexOf(NODE[family])}:${SERVICE_PORT} ${hexOf(CLIENT[family])}:4200`);
        assert.equal(transportSum(answered.frame, number), 0);
        const forwarded = node.runHost('to_netdev', answer, { ingressIfindex: 7 });
        assert.deepEqual(forwarded.frame, answer, 'not what the node forwards');
        const other = summed(OWN[family], CLIENT[family], payload([BACKEND_PORT, 4201]));
        assert.deepEqual(node.runHost('to_netdev', other).frame, other);
        const direct = summed(CLIENT[family], OWN[family], payload([4201, BACKEND_PORT]));
        assert.deepEqual(node.runHost('from_netdev', direct).frame, direct);
      });

      test('and when nobody listens there, the error is about what the client asked', () => {
        on.serve(node, service);
        on.backend(node, 1, OWN[family], number);
        const quote = quoteOf(come(4202).frame);
        const error = { type: family === 'ipv4' ? 3 : 1, code: family === 'ipv4' ? 3 : 4, quote };
        const frame = ip({ from: OWN[family], to: CLIENT[family], payload: { icmp: error } });
        const ran = node.runHost('to_netdev', frame);
        assert.equal(ran.verdict, 'next');
        const quoted = Buffer.concat([ran.frame.subarray(0, 14), ran.frame.subarray(14 + on.headerBytes(frame) + 8)]);
        assert.equal(ends(quoted), `${hexOf(CLIENT[family])}:4202 ${hexOf(NODE[family])}:${SERVICE_PORT}`);
      });

      test('what the way to the client complains of goes to who answered: a pod, or a socket of the node', () => {
        for (const [port, id, address, verdict] of [
          [4210, 1, POD[family], 'redirect'],
          [4211, 3, OWN[family], 'next'],
        ] as const) {
          on.backend(node, 3, OWN[family], number);
          on.serve(node, { ...service, backends: [id] });
          come(port);
          const answer = summed(NODE[family], CLIENT[family], payload([SERVICE_PORT, port], TCP.syn | TCP.ack));
          const icmp = { type: family === 'ipv4' ? 3 : 2, code: family === 'ipv4' ? 4 : 0, quote: quoteOf(answer) };
          const ran = node.runHost('from_netdev', ip({ from: ROUTER[family], to: NODE[family], payload: { icmp } }));
          assert.equal(ran.verdict, verdict);
          const { frame } = ran;
          assert.match(ends(frame), new RegExp(`^${hexOf(ROUTER[family])}:\\d+ ${hexOf(address)}:`));
          const quoted = Buffer.concat([frame.subarray(0, 14), frame.subarray(14 + on.headerBytes(frame) + 8)]);
          assert.equal(ends(quoted), `${hexOf(address)}:${BACKEND_PORT} ${hexOf(CLIENT[family])}:${port}`);
        }
      });

      test('a service without backends answers that nobody listens', async () => {
        on.serve(node, { ...service, backends: [] });
        let ran: Ran | undefined;
        assert.deepEqual(await counted(() => (ran = come(4006))), ['ingress DROP_NO_SERVICE']);
        assert.equal(ran!.verdict, 'redirect');
        assertUnreachable(ran!.frame, { from: NODE[family], to: CLIENT[family], port: 4006, protocol: number });
      });
    });
  }
}
