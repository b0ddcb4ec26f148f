/** Clients from outside whose backend is on another node, packet by packet: on under this node's address, and back. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { BpfObject } from '../../agent/kernel/bpf-object.ts';
import { parseAddress } from '../../agent/model/address.ts';
import { PROTOCOL } from '../../agent/model/port.ts';
import { writeBpfOverlayConfig } from '../../bpf/gen/config.ts';
import {
  CT_SEEN_REPLY,
  IPCACHE_STATIC_BITS,
  IPCACHE_TUNNEL,
  LB_NODE_PORT,
  NAT_FIRST_PORT,
} from '../../bpf/gen/constants.ts';
import { encode, endpointKey, ipcacheInfo, ipcacheKey, nodeConfig, nodeInfo, u32 } from '../../bpf/gen/structs.ts';
import { checksum, ip, quoteOf, TCP, type Payload } from './frame.ts';
import * as nat from './nat-entries.ts';
import { TestNode, type Ran } from './node.ts';
import { NODE, NOWHERE, RoutedNetns } from './routed-netns.ts';
import * as on from './services.ts';
import { TunnelPeers } from './tunnel-peers.ts';
import { BACKEND_PORT, ends, headerBytes, hexOf, SERVICE_PORT, summed, transportSum } from './services.ts';

const BACKEND = { ipv4: '10.1.0.1', ipv6: 'fd01::1' } as const;
const CLIENT = { ipv4: '203.0.113.7', ipv6: '2001:db8:9::7' } as const;
const ROUTER = { ipv4: '10.0.0.1', ipv6: 'fd00::1' } as const;
/** Any router on the way. */
const ROUTER_OUTSIDE = { ipv4: '192.0.2.254', ipv6: '2001:db8::fe' } as const;
const EXTERNAL = { ipv4: '198.51.100.8', ipv6: '2001:db8:5::8' } as const;
const [SERVICE, OTHER_SERVICE] = [9, 10];

let away: RoutedNetns, native: TestNode, tunnelled: TestNode, overlay: BpfObject, peers: TunnelPeers;
const TUNNEL_PORT = 8472;
const TUNNEL = { tunnel: true, tunnelIfindex: 99, tunnelMtu: 1450, tunnelPort: TUNNEL_PORT } as const;
const OTHER_NODE = '192.0.2.2';

before(async () => {
  away = new RoutedNetns();
  native = await TestNode.start();
  tunnelled = await TestNode.start(TUNNEL);
  overlay = tunnelled.load('bpf_overlay', (view) => writeBpfOverlayConfig(view, TUNNEL));
  peers = new TunnelPeers(overlay.program('from_overlay').fd, 'ipv4');
  const node = parseAddress(OTHER_NODE);
  const key = encode(endpointKey, { addr: node.bytes, family: node.family });
  tunnelled.maps.weir_nodes.update(key, encode(nodeInfo, { flags: 0 }));
  for (const address of Object.values(ROUTER)) tunnelled.local(address, { id: 0, identity: 1 });
  const routers = { routerIpv4: parseAddress(ROUTER.ipv4).bytes, routerIpv6: parseAddress(ROUTER.ipv6).bytes };
  tunnelled.maps.weir_node_config.update(
    encode(u32, 0),
    encode(nodeConfig, { ...routers, hostIfindex: 1, hostMac: new Uint8Array(6) }),
  );
  for (const address of Object.values(BACKEND)) {
    const { family, bytes } = parseAddress(address);
    native.ipcache(address, 3001);
    tunnelled.maps.weir_ipcache.update(
      encode(ipcacheKey, { prefixlen: IPCACHE_STATIC_BITS + bytes.length * 8, family, addr: bytes }),
      encode(ipcacheInfo, {
        ...{ identity: 3001, flags: IPCACHE_TUNNEL, tunnelFamily: 4 },
        tunnel: parseAddress(OTHER_NODE).bytes,
      }),
    );
  }
});
after(() => {
  native[Symbol.dispose]();
  peers[Symbol.dispose]();
  overlay[Symbol.dispose]();
  tunnelled[Symbol.dispose]();
  away[Symbol.dispose]();
});

for (const family of ['ipv4', 'ipv6'] as const) {
  for (const protocol of ['tcp', 'udp'] as const) {
    describe(`${protocol} over ${family}`, () => {
      const number = protocol === 'tcp' ? PROTOCOL.TCP : PROTOCOL.UDP;
      const payload = (ports: readonly [number, number], flags: number = TCP.syn): Payload =>
        protocol === 'tcp' ? { tcp: ports, flags } : { udp: ports };
      const [backend, client] = [hexOf(BACKEND[family]), hexOf(CLIENT[family])];
      const ask = (port: number, more: { node?: TestNode; to?: string; flags?: number } = {}): Ran => {
        const { node = native, to = NODE[family], flags } = more;
        const frame = summed(CLIENT[family], to, payload([port, SERVICE_PORT], flags));
        return away.run(() => node.runHost('from_netdev', frame));
      };
      const answer = (port: number, from: string = BACKEND[family]): Ran => {
        const frame = summed(from, NODE[family], payload([BACKEND_PORT, port], TCP.syn | TCP.ack));
        return away.run(() => native.runHost('from_netdev', frame));
      };
      /** A router found the frame too large for its next link. */
      const complain = ({ frame }: Ran, from: string, to: string, node = native): Ran => {
        const quote = quoteOf(frame, headerBytes(frame) + 20);
        const icmp = family === 'ipv4' ? { type: 3, code: 4, quote } : { type: 2, code: 0, quote };
        return away.run(() => node.runHost('from_netdev', ip({ from, to, payload: { icmp } })));
      };
      /** Addresses of a frame. */
      const outside = (frame: Buffer): string => ends(frame).replaceAll(/:\d+/g, '');
      /** Addresses and ports of what an ICMP error quotes. */
      const quoted = (frame: Buffer): string =>
        ends(Buffer.concat([frame.subarray(0, 14), frame.subarray(14 + headerBytes(frame) + 8)]));
      const assertSummed = (frame: Buffer): void => {
        if (family === 'ipv6') assert.equal(transportSum(frame, PROTOCOL.ICMPv6), 0);
        else
          for (const part of [frame.subarray(14, 34), frame.subarray(34), frame.subarray(42, 62)])
            assert.equal(checksum(part), 0);
      };
      /** The port by which a frame goes on. */
      const portOf = ({ frame }: Ran): number => frame.readUInt16BE(14 + headerBytes(frame));
      const drops = async (run: () => Ran): Promise<string[]> => {
        const before = await native.counters();
        assert.equal(run().verdict, 'drop');
        const now = await native.counters();
        return Object.keys(now).filter((key) => now[key] !== before[key] && !key.endsWith('DROP_NONE'));
      };

      beforeEach(async () => {
        for (const node of [native, tunnelled]) {
          await on.forgetServices(node);
          await nat.forgetTranslations(node);
          on.backend(node, 1, BACKEND[family], number);
          const service = { protocol: number, backends: [1], kind: LB_NODE_PORT };
          on.serve(node, { ...service, address: NODE[family], id: SERVICE });
          on.serve(node, { ...service, address: EXTERNAL[family], id: OTHER_SERVICE });
        }
      });

      test('goes on under the address of the node, and the client is answered by whom it asked', () => {
        for (const [port, asked] of [
          [4000, NODE[family]],
          [4001, EXTERNAL[family]],
        ] as const) {
          const sent = ask(port, { to: asked });
          assert.equal(sent.verdict, 'redirect');
          assert.ok(portOf(sent) >= NAT_FIRST_PORT);
          assert.equal(ends(sent.frame), `${hexOf(NODE[family])}:${portOf(sent)} ${backend}:${BACKEND_PORT}`);
          assert.equal(transportSum(sent.frame, number), 0);
          const got = answer(portOf(sent));
          assert.equal(got.verdict, 'redirect');
          assert.equal(ends(got.frame), `${hexOf(asked)}:${SERVICE_PORT} ${client}:${port}`);
          assert.equal(transportSum(got.frame, number), 0);
        }
      });

      test('through a tunnel it is the address towards pods, whose answers come out of the tunnel', () => {
        const sent = ask(4002, { node: tunnelled });
        assert.equal(sent.verdict, 'redirect');
        assert.equal(ends(sent.frame), `${hexOf(ROUTER[family])}:${portOf(sent)} ${backend}:${BACKEND_PORT}`);
        const frame = summed(BACKEND[family], ROUTER[family], payload([BACKEND_PORT, portOf(sent)]));
        const outside = away.run(() => tunnelled.runHost('from_netdev', frame));
        assert.equal(outside.verdict, 'next', 'by the network nobody answers for a pod of the tunnel');
        const got = away.run(() => peers.send(frame, 3001, OTHER_NODE));
        assert.equal(got.verdict, 'redirect');
        assert.equal(ends(got.frame), `${hexOf(NODE[family])}:${SERVICE_PORT} ${client}:4002`);
        assert.equal(transportSum(got.frame, number), 0);
        const stray = summed(BACKEND[family], ROUTER[family], payload([BACKEND_PORT, 1]));
        const strayed = away.run(() => peers.send(stray, 3001, OTHER_NODE)).frame;
        assert.equal(ends(strayed), ends(stray), 'what answers nothing is the host’s, as it came');
      });

      test('nobody is led to the port of the tunnel under the address of a node, there or back', () => {
        const fate = protocol === 'udp' ? 'drop' : 'redirect';
        const sent = ask(TUNNEL_PORT, { node: tunnelled });
        assert.equal(sent.verdict, 'redirect');
        const frame = summed(BACKEND[family], ROUTER[family], payload([BACKEND_PORT, portOf(sent)]));
        assert.equal(away.run(() => peers.send(frame, 3001, OTHER_NODE)).verdict, fate);
        tunnelled.maps.weir_lb_backends.update(encode(u32, 1), on.socket(BACKEND[family], TUNNEL_PORT, number));
        assert.equal(ask(4003, { node: tunnelled }).verdict, fate);
      });

      test('a connection keeps its port; another, also one through another service, has another', () => {
        const ports = Array.from({ length: 30 }, (_, i) => portOf(ask(5000 + i)));
        const others = Array.from({ length: 30 }, (_, i) => portOf(ask(5000 + i, { to: EXTERNAL[family] })));
        assert.equal(new Set([...ports, ...others]).size, 60);
        for (const [i, port] of ports.entries()) assert.equal(portOf(ask(5000 + i, { flags: TCP.ack })), port);
      });

      test('what the way to the backend complains of is, to its client, about the frontend', () => {
        for (const [port, asked] of [
          [4100, NODE[family]],
          [4101, EXTERNAL[family]],
        ] as const) {
          const sent = ask(port, { to: asked });
          const { verdict, frame } = complain(sent, ROUTER_OUTSIDE[family], NODE[family]);
          assert.equal(verdict, 'redirect');
          assert.equal(outside(frame), `${hexOf(asked)} ${client}`);
          assert.equal(quoted(frame), `${client}:${port} ${hexOf(asked)}:${SERVICE_PORT}`);
          assertSummed(frame);
        }
      });

      test('and that to the client, to the backend, about what it sent to the node', async () => {
        const sent = ask(4102, { to: EXTERNAL[family] });
        const answered = answer(portOf(sent));
        const { verdict, frame } = complain(answered, ROUTER_OUTSIDE[family], EXTERNAL[family]);
        assert.equal(verdict, 'redirect');
        assert.equal(outside(frame), `${hexOf(NODE[family])} ${backend}`);
        assert.equal(quoted(frame), `${backend}:${BACKEND_PORT} ${hexOf(NODE[family])}:${portOf(sent)}`);
        assertSummed(frame);
        const stranger = summed(EXTERNAL[family], CLIENT[family], payload([SERVICE_PORT, 4103]));
        const unknown = complain({ ...answered, frame: stranger }, ROUTER_OUTSIDE[family], EXTERNAL[family]);
        assert.equal(unknown.verdict, 'next', 'of a connection that nobody has');
        const [back] = await nat.translations(native, 'in');
        nat.write(native, back!, { port: 9 });
        const late = complain(answered, ROUTER_OUTSIDE[family], EXTERNAL[family]);
        assert.equal(late.verdict, 'next', 'the port is somebody else’s by now');
      });

      test('through a tunnel, likewise', () => {
        const sent = ask(4104, { node: tunnelled });
        const reply = summed(NODE[family], CLIENT[family], payload([SERVICE_PORT, 4104]));
        const { verdict, frame } = complain({ ...sent, frame: reply }, ROUTER_OUTSIDE[family], NODE[family], tunnelled);
        assert.equal(verdict, 'redirect');
        assert.equal(outside(frame), `${hexOf(ROUTER[family])} ${backend}`);
        assert.equal(quoted(frame), `${backend}:${BACKEND_PORT} ${hexOf(ROUTER[family])}:${portOf(sent)}`);
      });

      test('what answers nothing is left to the host', () => {
        const sent = ask(4003);
        const port = portOf(sent);
        for (const stray of [answer(port === 65535 ? port - 1 : port + 1), answer(port, CLIENT[family])]) {
          assert.equal(stray.verdict, 'next');
        }
      });

      test('without a free port, without a way: dropped, and counted', async () => {
        const to = { address: BACKEND[family], port: BACKEND_PORT, protocol: number, node: NODE[family] };
        await nat.takeAllPorts(native, to, nat.later());
        assert.deepEqual(await drops(() => ask(4004)), ['ingress DROP_NO_MAPPING']);
        on.backend(native, 1, NOWHERE[family], number);
        assert.deepEqual(await drops(() => ask(4005)), ['ingress DROP_FIB_LOOKUP']);
      });

      test('a flood that nobody answers keeps no port from a client', async () => {
        const to = { address: BACKEND[family], port: BACKEND_PORT, protocol: number, node: NODE[family] };
        const seconds = (left: number): bigint => process.hrtime.bigint() + BigInt(left) * 1_000_000_000n;
        // Unanswered, both protocols' connections live for a minute: these sent their last packet 40 seconds ago.
        await nat.takeAllPorts(native, to, seconds(20));
        assert.equal(ask(4012).verdict, 'redirect');
        const [first, ...more] = await nat.translations(native, 'out');
        assert.deepEqual([first!.key.localPort, more], [4012, []]);
        await nat.takeAllPorts(native, to, seconds(20), CT_SEEN_REPLY);
        assert.deepEqual(await drops(() => ask(4013)), ['ingress DROP_NO_MAPPING'], 'what was answered does');
      });

      test('an answer of a service that is gone is dropped', async () => {
        const port = portOf(ask(4006));
        native.maps.weir_lb_revnat.update(encode(u32, SERVICE), Buffer.alloc(24));
        assert.deepEqual(await drops(() => answer(port)), ['ingress DROP_NO_SERVICE']);
      });

      test('nobody comes to a service in the name of a pod of the tunnel by the network', () => {
        const frame = summed(BACKEND[family], NODE[family], payload([4008, SERVICE_PORT]));
        assert.equal(away.run(() => tunnelled.runHost('from_netdev', frame)).verdict, 'drop');
      });

      test('nothing goes on by a port that somebody else has now', async () => {
        const port = portOf(ask(4007));
        const [back] = await nat.translations(native, 'in');
        nat.write(native, back!, { port: 1, expires: nat.later() });
        assert.notEqual(portOf(ask(4007, { flags: TCP.ack })), port);
      });
    });
  }
}

test('what other nodes tunnel is left to the tunnel, whatever service has its port', async () => {
  using node = await TestNode.start({ ...TUNNEL, tunnelPort: SERVICE_PORT });
  for (const family of ['ipv4', 'ipv6'] as const) {
    node.ipcache(NODE[family], 1);
    node.ipcache(BACKEND[family], 3001);
    on.backend(node, 1, BACKEND[family], PROTOCOL.UDP);
    const service = { protocol: PROTOCOL.UDP, backends: [1], kind: LB_NODE_PORT };
    on.serve(node, { ...service, address: NODE[family], id: SERVICE });
    on.serve(node, { ...service, address: EXTERNAL[family], id: OTHER_SERVICE });
    const come = (to: string): string => {
      const frame = summed(CLIENT[family], to, { udp: [5000, SERVICE_PORT] });
      return away.run(() => node.runHost('from_netdev', frame)).verdict;
    };
    assert.deepEqual([come(NODE[family]), come(EXTERNAL[family])], ['next', 'redirect']);
  }
});
