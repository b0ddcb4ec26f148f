/** Services, packet by packet: what goes to a frontend, what comes back from a backend, and what policy sees of both. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { parseAddress } from '../../agent/model/address.ts';
import { PROTOCOL } from '../../agent/model/port.ts';
import { LB_TERMINATING, LB_UNREADY } from '../../bpf/gen/constants.ts';
import { ctEntry, decode, encode, lbMember, lbSocket, u32 } from '../../bpf/gen/structs.ts';
import { checksum, ip, quoteOf, TCP, type Payload } from './frame.ts';
import { TestNode, type EndpointPrograms, type Ran, type TestRule } from './node.ts';
import * as on from './services.ts';
import { BACKEND_PORT, ends, headerBytes as header, hexOf, SERVICE_PORT } from './services.ts';
import { assertUnreachable, summed, transportSum, type TestService } from './services.ts';

const POD = { id: 11, identity: 2011, ipv4: '10.0.0.11', ipv6: 'fd00::11' } as const;
const REMOTE = { identity: 3001, ipv4: ['10.1.0.1', '10.1.0.2'], ipv6: ['fd01::1', 'fd01::2'] } as const;
const VIP = { ipv4: '10.96.0.10', ipv6: 'fd96::10' } as const;
const SERVICE = 9;

let node: TestNode;
let pod: EndpointPrograms;

before(async () => {
  node = await TestNode.start();
  pod = node.endpoint(POD);
  for (const address of [...REMOTE.ipv4, ...REMOTE.ipv6]) node.ipcache(address, REMOTE.identity);
});
after(() => node[Symbol.dispose]());

const serve = (service: TestService): void => on.serve(node, service);
const backend = (id: number, address: string, protocol: number, state?: number): void =>
  on.backend(node, id, address, protocol, state);
const forget = (): Promise<void> => on.forgetServices(node);

for (const family of ['ipv4', 'ipv6'] as const) {
  for (const protocol of ['tcp', 'udp'] as const) {
    describe(`${protocol} over ${family}`, () => {
      const number = protocol === 'tcp' ? PROTOCOL.TCP : PROTOCOL.UDP;
      const rule: TestRule = { direction: 'egress', identity: REMOTE.identity, protocol: number, port: BACKEND_PORT };
      const payload = (ports: readonly [number, number], flags: number = TCP.ack): Payload =>
        protocol === 'tcp' ? { tcp: ports, flags } : { udp: ports };
      const out = (port: number, flags: number = TCP.syn): Ran =>
        pod.run('from_container', summed(POD[family], VIP[family], payload([port, SERVICE_PORT], flags)));
      const answer = (from: string, port: number): Ran =>
        pod.run('policy_ingress', summed(from, POD[family], payload([BACKEND_PORT, port], TCP.syn | TCP.ack)), {
          sourceIdentity: REMOTE.identity,
        });
      /** Address of the backend that a frame went to. */
      const chosen = ({ frame }: Ran): string => ends(frame).split(' ')[1]!.split(':')[0]!;

      beforeEach(async () => {
        await forget();
        for (const [i, address] of REMOTE[family].entries()) backend(i + 1, address, number);
        serve({ address: VIP[family], protocol: number, id: SERVICE, backends: [1, 2] });
        pod.allow(rule);
        node.raiseRevision(POD.id);
      });

      test('goes to a backend, and its answer comes from the service', () => {
        const sent = out(4000);
        assert.equal(sent.verdict, 'ok');
        const to = chosen(sent);
        assert.ok(REMOTE[family].map(hexOf).includes(to));
        assert.equal(ends(sent.frame), `${hexOf(POD[family])}:4000 ${to}:${BACKEND_PORT}`);
        assert.equal(transportSum(sent.frame, number), 0);
        if (family === 'ipv4') assert.equal(checksum(sent.frame.subarray(14, 34)), 0);

        const from = REMOTE[family].find((address) => hexOf(address) === to)!;
        const got = answer(from, 4000);
        assert.equal(got.verdict, 'redirect');
        assert.equal(ends(got.frame), `${hexOf(VIP[family])}:${SERVICE_PORT} ${hexOf(POD[family])}:4000`);
        assert.equal(transportSum(got.frame, number), 0);
        if (family === 'ipv4') assert.equal(checksum(got.frame.subarray(14, 34)), 0);
      });

      test('policy and conntrack see the backend', async () => {
        pod.revoke(rule);
        pod.allow({ ...rule, port: SERVICE_PORT });
        node.raiseRevision(POD.id);
        assert.equal(out(4001).verdict, 'drop', 'the port of the service means nothing to policy');
        pod.revoke({ ...rule, port: SERVICE_PORT });
        pod.allow(rule);
        node.raiseRevision(POD.id);
        const sent = out(4001);
        assert.equal(sent.verdict, 'ok');
        const connections = await node.connections();
        assert.equal(connections.length, 1);
        assert.equal(Buffer.from(connections[0]!.remote.bytes).toString('hex'), chosen(sent));
        assert.equal(connections[0]!.remotePort, BACKEND_PORT);
        pod.revoke(rule);
        node.raiseRevision(POD.id);
        assert.equal(out(4001, TCP.ack).verdict, 'drop', 'a change of policy cuts it');
      });

      test('a connection keeps its backend while that is there, also when it is going', () => {
        for (let port = 4100; port < 4120; port++) {
          const to = chosen(out(port));
          for (let i = 0; i < 3; i++) assert.equal(chosen(out(port, TCP.ack)), to);
        }
        const to = chosen(out(4200));
        const id = REMOTE[family].map(hexOf).indexOf(to) + 1;
        backend(id, REMOTE[family][id - 1]!, number, LB_TERMINATING);
        serve({ address: VIP[family], protocol: number, id: SERVICE, backends: [3 - id] });
        assert.equal(chosen(out(4200, TCP.ack)), to);
        assert.notEqual(chosen(out(4201)), to, 'new ones go elsewhere');
        node.maps.weir_lb_backends.delete(encode(u32, id));
        assert.notEqual(chosen(out(4200, TCP.ack)), to, 'what is gone is gone');
      });

      test('what has no beginning leaves a backend that is not ready', () => {
        const to = chosen(out(4250));
        const id = REMOTE[family].map(hexOf).indexOf(to) + 1;
        backend(id, REMOTE[family][id - 1]!, number, LB_UNREADY);
        serve({ address: VIP[family], protocol: number, id: SERVICE, backends: [3 - id] });
        assert.equal(chosen(out(4250, TCP.ack)) === to, protocol === 'tcp');
      });

      test('a conversation that began before there was the service comes to it', async () => {
        const { weir_lb_services: services, weir_ct4, weir_ct6 } = node.maps;
        pod.allow({ direction: 'egress' });
        for await (const { key } of services.entries()) services.delete(key);
        const vip = hexOf(VIP[family]);
        assert.equal(chosen(out(4300)), vip);
        serve({ address: VIP[family], protocol: number, id: SERVICE, backends: [1, 2] });
        if (protocol === 'udp') {
          assert.equal(chosen(out(4300)), vip, 'is not asked with every packet');
          const map = family === 'ipv4' ? weir_ct4 : weir_ct6;
          for await (const { key, value } of map.entries()) {
            map.update(key, encode(ctEntry, { ...decode(ctEntry, value), touched: 0 }));
          }
        }
        const sent = out(4300);
        assert.notEqual(chosen(sent), vip);
        const from = REMOTE[family].find((address) => hexOf(address) === chosen(sent))!;
        assert.equal(ends(answer(from, 4300).frame), `${vip}:${SERVICE_PORT} ${hexOf(POD[family])}:4300`);
        pod.revoke({ direction: 'egress' });
      });

      test('both backends get their share', () => {
        const seen = new Map<string, number>();
        for (let port = 5000; port < 5100; port++) {
          const to = chosen(out(port));
          seen.set(to, (seen.get(to) ?? 0) + 1);
        }
        // Fair coins: below 20 of 100 once in 10^9 runs.
        assert.ok([...seen.values()].every((n) => n >= 20) && seen.size === 2, [...seen.values()].join(' and '));
      });

      const reason = async (run: () => Ran, verdict: string): Promise<string[]> => {
        const before = await node.counters();
        assert.equal(run().verdict, verdict);
        const now = await node.counters();
        return Object.keys(now).filter((key) => now[key] !== before[key]);
      };

      test('a service without backends answers that nobody listens, and is counted as a drop', async () => {
        serve({ address: VIP[family], protocol: number, id: SERVICE, backends: [] });
        let answered: Buffer | undefined;
        const reasons = await reason(() => {
          const ran = out(4300);
          answered = ran.frame;
          return ran;
        }, 'redirect');
        assert.deepEqual(reasons, ['egress DROP_NO_SERVICE']);
        assertUnreachable(answered!, { from: VIP[family], to: POD[family], port: 4300, protocol: number });
      });

      test('an answer of a service that is gone drops', async () => {
        serve({ address: VIP[family], protocol: number, id: SERVICE, backends: [1] });
        assert.equal(out(4301).verdict, 'ok');
        node.maps.weir_lb_revnat.update(encode(u32, SERVICE), Buffer.alloc(lbSocket.size));
        const reasons = await reason(() => answer(REMOTE[family][0], 4301), 'drop');
        assert.deepEqual(reasons, ['ingress DROP_NO_SERVICE']);
      });

      test('a pod that is its own backend hears itself from an address that nobody has', async () => {
        const nobody = family === 'ipv4' ? '169.254.42.1' : '100::a9fe:2a01';
        backend(7, POD[family], number);
        serve({ address: VIP[family], protocol: number, id: SERVICE, backends: [7] });
        pod.revoke(rule);
        node.raiseRevision(POD.id);
        const sent = out(4302);
        assert.equal(sent.verdict, 'redirect', 'whatever policy says');
        assert.equal(ends(sent.frame), `${hexOf(nobody)}:4302 ${hexOf(POD[family])}:${BACKEND_PORT}`);
        assert.equal(transportSum(sent.frame, number), 0);
        const back = pod.run('from_container', summed(POD[family], nobody, payload([BACKEND_PORT, 4302])));
        assert.equal(back.verdict, 'redirect');
        assert.equal(ends(back.frame), `${hexOf(VIP[family])}:${SERVICE_PORT} ${hexOf(POD[family])}:4302`);
        assert.equal(transportSum(back.frame, number), 0);
        const more = out(4302, TCP.ack);
        assert.deepEqual([more.verdict, ends(more.frame)], ['redirect', ends(sent.frame)], 'and goes on so');
        const tracked = (await node.connections()).find((connection) => connection.remotePort === 4302);
        assert.deepEqual([tracked?.forward.packets, tracked?.reply.packets], [2n, 1n]);
        const stray = () => pod.run('from_container', summed(POD[family], nobody, payload([BACKEND_PORT, 4303])));
        assert.deepEqual(await reason(stray, 'drop'), ['egress DROP_HAIRPIN']);
      });

      test('a client keeps its backend with affinity, while the service has it', () => {
        serve({ address: VIP[family], protocol: number, id: SERVICE, backends: [1, 2], affinitySeconds: 100 });
        const seen = new Set(Array.from({ length: 40 }, (_, i) => chosen(out(6000 + i))));
        assert.equal(seen.size, 1);
        const kept = REMOTE[family].map(hexOf).indexOf([...seen][0]!) + 1;
        node.maps.weir_lb_members.delete(encode(lbMember, { backend: kept, service: SERVICE }));
        serve({ address: VIP[family], protocol: number, id: SERVICE, backends: [3 - kept], affinitySeconds: 100 });
        assert.equal(chosen(out(6100)), hexOf(REMOTE[family][2 - kept]!));
      });

      test('another port, another protocol and the backend itself are no service', () => {
        const all: TestRule = { direction: 'egress' };
        pod.allow(all);
        node.raiseRevision(POD.id);
        const untouched = (to: string, parts: Payload): void => {
          const frame = summed(POD[family], to, parts);
          const ran = pod.run('from_container', frame);
          assert.equal(ran.verdict, 'ok');
          assert.deepEqual(ran.frame, frame);
        };
        untouched(VIP[family], payload([4400, 81], TCP.syn));
        untouched(VIP[family], protocol === 'tcp' ? { udp: [4400, SERVICE_PORT] } : { tcp: [4400, SERVICE_PORT] });
        untouched(REMOTE[family][0], payload([4401, BACKEND_PORT], TCP.syn));
        const got = answer(REMOTE[family][0], 4401);
        assert.equal(ends(got.frame).split(' ')[0], `${hexOf(REMOTE[family][0])}:${BACKEND_PORT}`);
        pod.revoke(all);
        node.raiseRevision(POD.id);
      });

      test('an ICMP error about it quotes the service', () => {
        const sent = out(4500);
        const error = { type: family === 'ipv4' ? 3 : 1, code: 1, quote: quoteOf(sent.frame, header(sent.frame) + 20) };
        const from = family === 'ipv4' ? '172.16.0.1' : 'fd99::1';
        const got = pod.run('policy_ingress', ip({ from, to: POD[family], payload: { icmp: error } }));
        assert.equal(got.verdict, 'redirect');
        const quote = Buffer.concat([got.frame.subarray(0, 14), got.frame.subarray(14 + header(got.frame) + 8)]);
        assert.equal(ends(quote), `${hexOf(POD[family])}:4500 ${hexOf(VIP[family])}:${SERVICE_PORT}`);
        if (family === 'ipv4') {
          assert.equal(checksum(quote.subarray(14, 34)), 0);
          assert.equal(checksum(got.frame.subarray(34)), 0);
        } else assert.equal(transportSum(got.frame, PROTOCOL.ICMPv6), 0);
      });
    });
  }

  test(`fragments of a datagram to a service follow its first one, ${family}`, async () => {
    await forget();
    backend(1, REMOTE[family][0], PROTOCOL.UDP);
    serve({ address: VIP[family], protocol: PROTOCOL.UDP, id: SERVICE, backends: [1] });
    pod.allow({ direction: 'egress', identity: REMOTE.identity, protocol: PROTOCOL.UDP, port: BACKEND_PORT });
    node.raiseRevision(POD.id);
    const fragment = (offset: number, payload: Payload, more: boolean): Ran =>
      pod.run(
        'from_container',
        ip({ from: POD[family], to: VIP[family], payload, fragment: { id: 77, offset, more } }),
      );
    assert.equal(fragment(0, { udp: [4600, SERVICE_PORT] }, true).verdict, 'ok');
    const data = Buffer.alloc(64, 0xaa);
    const later = fragment(16, { raw: data, protocol: PROTOCOL.UDP }, false);
    assert.equal(later.verdict, 'ok');
    const at = family === 'ipv4' ? 30 : 38;
    const bytes = parseAddress(REMOTE[family][0]).bytes;
    assert.deepEqual(later.frame.subarray(at, at + bytes.length), Buffer.from(bytes));
    assert.deepEqual(later.frame.subarray(-64), data, 'what is not a header is left alone');
  });
}

test('UDP over IPv4 without a checksum stays without one', async () => {
  await forget();
  backend(1, REMOTE.ipv4[0], PROTOCOL.UDP);
  serve({ address: VIP.ipv4, protocol: PROTOCOL.UDP, id: SERVICE, backends: [1] });
  const sent = pod.run('from_container', ip({ from: POD.ipv4, to: VIP.ipv4, payload: { udp: [4700, SERVICE_PORT] } }));
  assert.equal(sent.verdict, 'ok');
  assert.equal(sent.frame.readUInt16BE(14 + 20 + 6), 0);
});
