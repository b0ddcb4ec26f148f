/** Pods to the world under the node's address, packet by packet: out by a device, and back to the pod. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { parseCidr } from '../../agent/model/address.ts';
import { encodeIpcacheKey } from '../../agent/datapath/maps/ipcache.ts';
import { PROTOCOL } from '../../agent/model/port.ts';
import { MARK_TO_WORLD, NAT_FIRST_PORT } from '../../bpf/gen/constants.ts';
import { Actor } from '../harness/actor.ts';
import { checksum, ip, quoteOf, TCP, type Payload } from './frame.ts';
import * as nat from './nat-entries.ts';
import { TestNode, type EndpointPrograms, type Ran, type RunContext } from './node.ts';
import { NODE, NOWHERE, RoutedNetns } from './routed-netns.ts';
import { ends, headerBytes, hexOf, summed, transportSum } from './services.ts';

const POD = { id: 11, identity: 2011, ipv4: '10.0.0.11', ipv6: 'fd00::11' } as const;
const GONE = { id: 12, identity: 2012, ipv4: '10.0.0.12', ipv6: 'fd00::12' } as const;
const SERVER = { ipv4: '203.0.113.7', ipv6: '2001:db8:9::7' } as const;
const ROUTER = { ipv4: '172.16.0.1', ipv6: '2001:db8:7::1' } as const;
const REMOTE_POD = { ipv4: '10.1.0.1', ipv6: 'fd01::1' } as const;
const REMOTE_NODE = { ipv4: '192.0.2.2', ipv6: '2001:db8::2' } as const;
const API_SERVER = { ipv4: '192.0.2.3', ipv6: '2001:db8::3' } as const;
const EXCEPTED = { ipv4: '198.51.100.1', ipv6: '2001:db8:5::1' } as const;
const BY_POLICY = { ipv4: '203.0.113.99', ipv6: '2001:db8:9::99' } as const;
/** What node.ts gives the pod's link. */
const LINK = 1000 + POD.id;
const ON = { masqueradeIpv4: 1, masqueradeIpv6: 1 } as const;

let node: TestNode, pod: EndpointPrograms, away: RoutedNetns;

before(async () => {
  away = new RoutedNetns();
  node = await TestNode.start(ON);
  pod = node.endpoint({ ...POD, config: ON });
  pod.allow({ direction: 'egress' });
  node.endpoint(GONE);
  for (const family of ['ipv4', 'ipv6'] as const) {
    const bits = family === 'ipv4' ? 32 : 128;
    node.ipcache(NODE[family], 1);
    node.ipcache(REMOTE_POD[family], 3001);
    node.ipcache(REMOTE_NODE[family], 6);
    node.ipcache(API_SERVER[family], 7);
    node.ipcache(BY_POLICY[family], (1 << 24) + 5);
    except(`${EXCEPTED[family]}/${bits}`);
  }
});
after(() => {
  node[Symbol.dispose]();
  away[Symbol.dispose]();
});
beforeEach(async () => {
  await node.forgetConnections();
  await nat.forgetTranslations(node);
});

function except(prefix: string): void {
  node.maps.weir_non_masquerade.update(encodeIpcacheKey(parseCidr(prefix)), Uint8Array.of(1, 0, 0, 0));
}

/** Out by the device, as the host's stack brings what the pod sent. */
function leave(frame: Buffer, more: RunContext = {}): Ran {
  const run = { ingressIfindex: LINK, ifindex: away.ext0, mark: MARK_TO_WORLD, ...more };
  return away.run(() => node.runHost('to_netdev', frame, run));
}

function send(frame: Buffer): Ran {
  const sent = pod.run('from_container', frame);
  assert.equal(sent.verdict, 'ok');
  return leave(sent.frame, { mark: sent.mark });
}

const come = (frame: Buffer): Ran => away.run(() => node.runHost('from_netdev', frame));

/** Reasons of the drops that happen meanwhile. */
async function drops(run: () => Ran): Promise<string[]> {
  const before = await node.counters();
  assert.equal(run().verdict, 'drop');
  const now = await node.counters();
  return Object.keys(now).filter((key) => now[key] !== before[key] && !key.endsWith('DROP_NONE'));
}

const portAt = (frame: Buffer, offset: number): number => frame.readUInt16BE(14 + headerBytes(frame) + offset);
const sourcePort = (frame: Buffer): number => portAt(frame, 0);

function assertUntouched(ran: Ran, frame: Buffer): void {
  assert.equal(ran.verdict, 'next');
  assert.deepEqual(ran.frame, frame);
}

for (const family of ['ipv4', 'ipv6'] as const) {
  const icmp = family === 'ipv4' ? PROTOCOL.ICMP : PROTOCOL.ICMPv6;
  const assertIpSum = (frame: Buffer): void => {
    if (family === 'ipv4') assert.equal(checksum(frame.subarray(14, 34)), 0);
  };
  /** Over ICMP, which in IPv4 covers no addresses. */
  const icmpSum = (frame: Buffer): number =>
    family === 'ipv4' ? checksum(frame.subarray(34)) : transportSum(frame, PROTOCOL.ICMPv6);

  for (const protocol of ['tcp', 'udp'] as const) {
    describe(`${protocol} over ${family}`, () => {
      const number = protocol === 'tcp' ? PROTOCOL.TCP : PROTOCOL.UDP;
      const payload = (ports: readonly [number, number], flags: number = TCP.syn): Payload =>
        protocol === 'tcp' ? { tcp: ports, flags } : { udp: ports };
      const out = (port: number, flags: number = TCP.syn, to: string = SERVER[family]): Buffer =>
        summed(POD[family], to, payload([port, 443], flags));
      const answer = (port: number, flags: number = TCP.syn | TCP.ack, from: string = SERVER[family]): Buffer =>
        summed(from, NODE[family], payload([443, port], flags));
      const [own, server] = [hexOf(NODE[family]), hexOf(SERVER[family])];

      test('leaves under the address of the node, and its answer comes to the pod', () => {
        const sent = send(out(4000));
        assert.equal(sent.verdict, 'next');
        const port = sourcePort(sent.frame);
        assert.ok(port >= NAT_FIRST_PORT);
        assert.equal(ends(sent.frame), `${own}:${port} ${server}:443`);
        assert.equal(transportSum(sent.frame, number), 0);
        assertIpSum(sent.frame);
        const got = come(answer(port));
        assert.equal(got.verdict, 'redirect');
        assert.equal(ends(got.frame), `${server}:443 ${hexOf(POD[family])}:4000`);
        assert.equal(transportSum(got.frame, number), 0);
        assertIpSum(got.frame);
      });

      test('policy and conntrack know the addresses of pod and world', async () => {
        send(out(4001));
        const [connection, ...more] = await node.connections();
        assert.deepEqual(more, []);
        assert.equal(Buffer.from(connection!.remote.bytes).toString('hex'), server);
        assert.equal(connection!.localPort, 4001);
      });

      test('a connection keeps its port, and another has another', () => {
        const ports = Array.from({ length: 50 }, (_, i) => sourcePort(send(out(5000 + i)).frame));
        assert.equal(new Set(ports).size, ports.length);
        for (const [i, port] of ports.entries()) assert.equal(sourcePort(send(out(5000 + i, TCP.ack)).frame), port);
      });

      test('what the world, or a policy, has is masqueraded, and an API server that is no node', () => {
        for (const to of [SERVER, BY_POLICY, API_SERVER]) {
          assert.match(ends(send(out(4002, TCP.syn, to[family])).frame), new RegExp(`^${own}:`));
        }
      });

      test('what the cluster has, nodes, and what is excepted see the pod', () => {
        for (const to of [REMOTE_POD, REMOTE_NODE, EXCEPTED]) {
          const frame = out(4003, TCP.syn, to[family]);
          const { frame: sent, mark } = pod.run('from_container', frame);
          assert.equal(mark, to === EXCEPTED ? MARK_TO_WORLD : 0);
          assertUntouched(leave(sent), frame);
        }
        const bits = family === 'ipv4' ? 32 : 128;
        except(`${API_SERVER[family]}/${bits}`);
        const frame = out(4004, TCP.syn, API_SERVER[family]);
        assertUntouched(send(frame), frame);
        node.maps.weir_non_masquerade.delete(encodeIpcacheKey(parseCidr(`${API_SERVER[family]}/${bits}`)));
      });

      test('an answer to who came to the pod itself is from the pod', () => {
        pod.allow({ direction: 'ingress' });
        pod.run('policy_ingress', summed(SERVER[family], POD[family], payload([443, 4005])), { sourceIdentity: 9 });
        assert.equal(pod.run('from_container', out(4005, TCP.syn | TCP.ack)).mark, 0);
        pod.revoke({ direction: 'ingress' });
      });

      test('only what came by the pod\u2019s own link, with the mark', () => {
        const frame = out(4006);
        for (const more of [{ mark: 0 }, { ingressIfindex: 0 }, { ingressIfindex: LINK + 1 }]) {
          assertUntouched(leave(frame, more), frame);
        }
      });

      test('what answers nothing is left to the host', async () => {
        const port = sourcePort(send(out(4007)).frame);
        for (const frame of [answer(port === 65535 ? port - 1 : port + 1), answer(port, TCP.ack, BY_POLICY[family])]) {
          assertUntouched(come(frame), frame);
        }
        const [back] = await nat.translations(node, 'in');
        nat.write(node, back!, { expires: 0n, touched: back!.entry.touched - 100_000 });
        assertUntouched(come(answer(port)), answer(port));
      });

      test('an answer to a pod that is gone is dropped', async () => {
        const port = sourcePort(send(out(4008)).frame);
        const [back] = await nat.translations(node, 'in');
        nat.write(node, back!, { addr: parseCidr(REMOTE_POD[family]).address.bytes });
        assert.deepEqual(await drops(() => come(answer(port))), ['ingress DROP_NO_LOCAL_ENDPOINT']);
      });

      test('without a free port, without a way: dropped, and counted', async () => {
        const to = { address: SERVER[family], port: 443, protocol: number, node: NODE[family] };
        await nat.takeAllPorts(node, to, nat.later());
        assert.deepEqual(await drops(() => send(out(4009))), ['egress DROP_NO_MAPPING']);
        assert.deepEqual(await nat.translations(node, 'out'), []);
        assert.equal(send(out(4009, TCP.syn, BY_POLICY[family])).verdict, 'next', 'other destinations have theirs');
        const lost = () => send(out(4010, TCP.syn, NOWHERE[family]));
        assert.deepEqual(await drops(lost), ['egress DROP_FIB_LOOKUP']);
      });

      test('ports of connections that are over are taken over', async () => {
        const to = { address: SERVER[family], port: 443, protocol: number, node: NODE[family] };
        await nat.takeAllPorts(node, to, 1n);
        const sent = send(out(4011));
        assert.equal(sent.verdict, 'next');
        assert.equal(ends(come(answer(sourcePort(sent.frame))).frame).split(' ')[1], `${hexOf(POD[family])}:4011`);
      });

      test('nothing leaves by a port that somebody else has now', async () => {
        const port = sourcePort(send(out(4012)).frame);
        const [back] = await nat.translations(node, 'in');
        nat.write(node, back!, { port: 1, expires: nat.later() });
        assert.notEqual(sourcePort(send(out(4012, TCP.ack)).frame), port);
      });

      test('a connection whose entries were pushed out gets its port again', async () => {
        const port = sourcePort(send(out(4013)).frame);
        const [back] = await nat.translations(node, 'in');
        nat.remove(node, back!);
        assert.equal(sourcePort(send(out(4013, TCP.ack)).frame), port, 'what answers look like was lost');
        const [[out4013], [again]] = [await nat.translations(node, 'out'), await nat.translations(node, 'in')];
        nat.remove(node, out4013!);
        nat.write(node, again!, { touched: again!.entry.touched - 100_000 });
        assert.equal(come(answer(port)).verdict, 'redirect');
        assert.equal(sourcePort(send(out(4013, TCP.ack)).frame), port, 'what is sent was lost, until it was answered');
      });

      test('lives as long as conntrack would let it', async () => {
        const lifetime = async (): Promise<number> =>
          Math.round(nat.lifetime((await nat.translations(node, 'in'))[0]!));
        const near = (seconds: number, wanted: number): void =>
          assert.ok(Math.abs(seconds - wanted) < 5, String(seconds));
        const port = sourcePort(send(out(4014)).frame);
        near(await lifetime(), 60);
        come(answer(port));
        near(await lifetime(), protocol === 'tcp' ? 8000 : 60);
        if (protocol === 'udp') return;
        send(out(4014, TCP.fin | TCP.ack));
        come(answer(port, TCP.fin | TCP.ack));
        near(await lifetime(), 10);
        send(out(4014, TCP.syn));
        near(await lifetime(), 60);
      });

      test('an ICMP error about it goes to the pod, and is about what the pod sent', () => {
        const sent = send(out(4015));
        const [type, code] = family === 'ipv4' ? [3, 4] : [2, 0];
        const error = (quote: Uint8Array): Buffer =>
          ip({ from: ROUTER[family], to: NODE[family], payload: { icmp: { type, code, quote } } });
        const got = come(error(quoteOf(sent.frame, headerBytes(sent.frame) + 20)));
        assert.equal(got.verdict, 'redirect');
        assert.equal(ends(got.frame).split(' ')[1]!.split(':')[0], hexOf(POD[family]));
        assertIpSum(got.frame);
        assert.equal(icmpSum(got.frame), 0);
        const inner = Buffer.concat([got.frame.subarray(0, 14), got.frame.subarray(14 + headerBytes(got.frame) + 8)]);
        assert.equal(ends(inner), `${hexOf(POD[family])}:4015 ${server}:443`);
        assertIpSum(inner);
        const stranger = error(quoteOf(out(4015)));
        assertUntouched(come(stranger), stranger);
      });

      test('what a pod complains of to the world is about what came here, and comes from here', async () => {
        const port = sourcePort(send(out(4016)).frame);
        const got = come(answer(port));
        const [type, code] = family === 'ipv4' ? [3, 3] : [1, 4];
        const error = (quote: Uint8Array): Buffer =>
          ip({ from: POD[family], to: SERVER[family], payload: { icmp: { type, code, quote } } });
        const sent = send(error(quoteOf(got.frame, headerBytes(got.frame) + 20)));
        assert.equal(sent.verdict, 'next');
        assert.equal(ends(sent.frame).split(':')[0], own);
        assertIpSum(sent.frame);
        assert.equal(icmpSum(sent.frame), 0);
        const inner = Buffer.concat([
          sent.frame.subarray(0, 14),
          sent.frame.subarray(14 + headerBytes(sent.frame) + 8),
        ]);
        assert.equal(ends(inner), `${server}:443 ${own}:${port}`);
        assertIpSum(inner);
        const unasked = error(quoteOf(summed(SERVER[family], POD[family], payload([443, 9]))));
        assert.deepEqual(await drops(() => leave(unasked)), ['egress DROP_NO_MAPPING']);
        const [back] = await nat.translations(node, 'in');
        nat.write(node, back!, { port: 9 });
        const late = error(quoteOf(got.frame, headerBytes(got.frame) + 20));
        assert.deepEqual(
          await drops(() => leave(late)),
          ['egress DROP_NO_MAPPING'],
          'the port is somebody else’s by now',
        );
      });

      test('a complaint about what came to the pod itself is from the pod', () => {
        pod.allow({ direction: 'ingress' });
        const frame = summed(SERVER[family], POD[family], payload([443, 4017]));
        pod.run('policy_ingress', frame, { sourceIdentity: 9 });
        const [type, code] = family === 'ipv4' ? [3, 3] : [1, 4];
        const quote = quoteOf(frame, headerBytes(frame) + 20);
        const error = ip({ from: POD[family], to: SERVER[family], payload: { icmp: { type, code, quote } } });
        assertUntouched(send(error), error);
        pod.revoke({ direction: 'ingress' });
      });

      test('a port that a socket of the node has is left out', async () => {
        const taken = 61_234;
        const first = async (to: string): Promise<number> => {
          send(out(4018, TCP.syn, to));
          for (const back of await nat.translations(node, 'in')) nat.remove(node, back);
          // The port that a connection had before is the first to be tried.
          for (const entry of await nat.translations(node, 'out')) nat.write(node, entry, { port: taken });
          return sourcePort(send(out(4018, TCP.syn, to)).frame);
        };
        assert.equal(await first(BY_POLICY[family]), taken);
        await using actor = await Actor.start(away.ns);
        await actor.do({ op: 'serve', port: taken });
        assert.notEqual(await first(SERVER[family]), taken);
      });
    });
  }

  describe(`other packets, ${family}`, () => {
    const [request, reply] = family === 'ipv4' ? [8, 0] : [128, 129];
    const echo = (from: string, to: string, type: number, id: number): Buffer =>
      ip({ from, to, payload: { icmp: { type, id } } });

    test('an echo has an identifier of the node, and its answer that of the pod', async () => {
      const sent = send(echo(POD[family], SERVER[family], request, 77));
      assert.equal(sent.verdict, 'next');
      const id = portAt(sent.frame, 4);
      assert.ok(id >= NAT_FIRST_PORT);
      assert.equal(icmpSum(sent.frame), 0);
      assertIpSum(sent.frame);
      const got = come(echo(SERVER[family], NODE[family], reply, id));
      assert.equal(got.verdict, 'redirect');
      assert.equal(portAt(got.frame, 4), 77);
      assert.equal(icmpSum(got.frame), 0);
      const [type, code] = family === 'ipv4' ? [11, 0] : [3, 0];
      const quote = quoteOf(sent.frame, headerBytes(sent.frame) + 8);
      const error = come(ip({ from: ROUTER[family], to: NODE[family], payload: { icmp: { type, code, quote } } }));
      assert.equal(error.verdict, 'redirect');
      assert.equal(portAt(error.frame, 8 + headerBytes(error.frame) + 4), 77, 'the quoted identifier');
      assert.equal(icmpSum(error.frame), 0);
      const unasked = echo(POD[family], SERVER[family], reply, 78);
      assert.deepEqual(await drops(() => leave(unasked)), ['egress DROP_UNKNOWN_L4']);
      const asked = echo(SERVER[family], NODE[family], request, id);
      assertUntouched(come(asked), asked);
    });

    test('protocols without ports that may be changed do not leave', async () => {
      const raw = Buffer.alloc(16);
      for (const payload of [{ sctp: [4000, 443] }, { raw, protocol: 47 }] satisfies Payload[]) {
        const frame = ip({ from: POD[family], to: SERVER[family], payload });
        assert.deepEqual(await drops(() => leave(frame)), ['egress DROP_UNKNOWN_L4']);
      }
    });

    test('fragments follow their first one, both ways', async () => {
      const data = Buffer.alloc(64, 0xaa);
      const fragment = (from: string, to: string, id: number, first?: Payload): Buffer =>
        ip({
          ...{ from, to, payload: first ?? { raw: data, protocol: PROTOCOL.UDP } },
          fragment: first === undefined ? { id, offset: 16, more: false } : { id, offset: 0, more: true },
        });
      const early = fragment(POD[family], SERVER[family], 5);
      assert.deepEqual(await drops(() => leave(early)), ['egress DROP_FRAGMENT']);
      const first = send(fragment(POD[family], SERVER[family], 6, { udp: [4100, 443] }));
      const [extension, own] = [family === 'ipv6' ? 8 : 0, hexOf(NODE[family])];
      const port = portAt(first.frame, extension);
      assert.ok(port >= NAT_FIRST_PORT);
      const later = send(fragment(POD[family], SERVER[family], 6));
      assert.equal(ends(later.frame).split(':')[0], own);
      assert.deepEqual(later.frame.subarray(-64), data);

      const stray = fragment(SERVER[family], NODE[family], 7);
      assertUntouched(come(stray), stray);
      const back = come(fragment(SERVER[family], NODE[family], 8, { udp: [443, port] }));
      assert.equal(portAt(back.frame, extension + 2), 4100);
      const rest = come(fragment(SERVER[family], NODE[family], 8));
      assert.equal(ends(rest.frame).split(' ')[1]!.split(':')[0], hexOf(POD[family]));
      assert.deepEqual(rest.frame.subarray(-64), data);
      assert.deepEqual([back.verdict, rest.verdict], ['redirect', 'redirect']);
    });

    test('what cannot be parsed does not leave', async () => {
      const frame = ip({ from: POD[family], to: SERVER[family], payload: { raw: Buffer.alloc(2), protocol: icmp } });
      assert.deepEqual(await drops(() => leave(frame)), ['egress DROP_CT_INVALID_HEADER']);
    });

    test('switched off, pods are seen', async () => {
      using plain = await TestNode.start();
      using object = plain.endpoint(POD);
      object.allow({ direction: 'egress' });
      const frame = summed(POD[family], SERVER[family], { udp: [4200, 443] });
      const sent = object.run('from_container', frame);
      assert.equal(sent.mark, 0);
      const run = { ingressIfindex: LINK, ifindex: away.ext0, mark: MARK_TO_WORLD };
      assertUntouched(
        away.run(() => plain.runHost('to_netdev', sent.frame, run)),
        frame,
      );
    });
  });
}
