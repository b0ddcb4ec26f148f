/** Between nodes: what comes out of the tunnel, by whom and as whom, and what the host's stack and pods send into it. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { BpfObject } from '../../agent/kernel/bpf-object.ts';
import { parseAddress } from '../../agent/model/address.ts';
import { writeBpfOverlayConfig } from '../../bpf/gen/config.ts';
import * as C from '../../bpf/gen/constants.ts';
import { DROP_REASONS } from '../../bpf/gen/drops.ts';
import { encode, endpointKey, ipcacheInfo, ipcacheKey, nodeInfo, tunnelInfo } from '../../bpf/gen/structs.ts';
import { ethernet, ip, quoteOf, TCP, type Payload } from './frame.ts';
import { endpointMacs, runProgram, TestNode, type EndpointPrograms, type Ran } from './node.ts';
import { TunnelPeers } from './tunnel-peers.ts';

const POD = { id: 41, identity: 1041, ipv4: '10.0.0.41', ipv6: 'fd00::41' } as const;
const ROUTER = { ipv4: '10.0.0.1', ipv6: 'fd00::1' } as const;
const REMOTE = { identity: 3041, ipv4: '10.1.0.41', ipv6: 'fd01::41' } as const;
const REMOTE_HOST = { ipv4: '10.1.0.1', ipv6: 'fd01::1' } as const;
const API_SERVER = { ipv4: '10.1.0.2', ipv6: 'fd01::2' } as const;
const UNANNOUNCED = { ipv4: '10.1.0.99', ipv6: 'fd01::99' } as const;
const ELSEWHERE = { ipv4: '203.0.113.7', ipv6: '2001:db8:9::7' } as const;
const NOBODY = { ipv4: '10.0.0.99', ipv6: 'fd00::99' } as const;
const OTHER_NODE = { ipv4: '192.0.2.2', ipv6: '2001:db8::2' } as const;
const STRANGER = { ipv4: '192.0.2.66', ipv6: '2001:db8::66' } as const;
const SOME_DEVICE = 7;
const TUNNEL_MTU = 1450;
const TUNNEL_PORT = 8472;
/** Every packet that passes is an event, too. */
const TRACED = { traceEvents: true, traceAggregation: C.AGGREGATE_NONE } as const;

const reasonOf = (number: number): string => DROP_REASONS.get(number)?.name.replace('DROP_', '') ?? String(number);

for (const outer of ['ipv4', 'ipv6'] as const) {
  describe(`a tunnel over ${outer}`, () => {
    const stack = new DisposableStack();
    let node: TestNode;
    let pod: EndpointPrograms;
    let overlay: BpfObject;
    let peers: TunnelPeers;
    const tunnel = {
      tunnel: true,
      tunnelIpv6: outer === 'ipv6',
      tunnelIfindex: 99,
      tunnelMtu: TUNNEL_MTU,
      tunnelPort: TUNNEL_PORT,
      ...TRACED,
    };

    before(async () => {
      node = stack.use(await TestNode.start(tunnel));
      pod = node.endpoint({ ...POD, config: tunnel });
      pod.allow({ direction: 'ingress' }, { direction: 'egress' });
      overlay = stack.use(node.load('bpf_overlay', (view) => writeBpfOverlayConfig(view, tunnel)));
      peers = stack.use(new TunnelPeers(overlay.program('from_overlay').fd, outer));
      const peer = parseAddress(OTHER_NODE[outer]);
      node.maps.weir_nodes.update(
        encode(endpointKey, { addr: peer.bytes, family: peer.family }),
        encode(nodeInfo, { flags: 0 }),
      );
      for (const family of ['ipv4', 'ipv6'] as const) {
        node.local(ROUTER[family], { id: 0, identity: 1 });
        node.ipcache(ROUTER[family], 1);
        node.ipcache(REMOTE_HOST[family], C.IDENTITY_REMOTE_NODE);
        node.ipcache(API_SERVER[family], C.IDENTITY_KUBE_APISERVER);
        const remote = parseAddress(REMOTE[family]);
        const prefixlen = C.IPCACHE_STATIC_BITS + remote.bytes.length * 8;
        node.maps.weir_ipcache.update(
          encode(ipcacheKey, { prefixlen, family: remote.family, addr: remote.bytes }),
          encode(ipcacheInfo, {
            ...{ identity: REMOTE.identity, flags: C.IPCACHE_TUNNEL },
            ...{ tunnelFamily: peer.family, tunnel: peer.bytes },
          }),
        );
        const pods = parseAddress(family === 'ipv4' ? '10.1.0.0' : 'fd01::');
        node.maps.weir_tunnel.update(
          encode(ipcacheKey, { ...{ prefixlen: C.IPCACHE_STATIC_BITS + 16, family: pods.family }, addr: pods.bytes }),
          encode(tunnelInfo, { family: peer.family, addr: peer.bytes }),
        );
      }
      node.traced(true);
      node.events();
    });
    after(() => stack.dispose());

    /** What became of a packet, and as whose it was taken: `verdict`, or `verdict reason`, and the identity. */
    const outcome = ({ verdict }: Ran): string => {
      const event = node.events().findLast(({ type }) => type === C.EVENT_DROP || type === C.EVENT_TRACE)!;
      const reason = event.type === C.EVENT_DROP ? ` ${reasonOf(event.reason)}` : '';
      return `${verdict}${reason} of ${event.sourceIdentity}`;
    };

    /** Runs what `from` sent through the tunnel. */
    const arrives = (frame: Buffer, vni: number, from: string = OTHER_NODE[outer]): Ran => peers.send(frame, vni, from);
    const inside = (from: string, to: string): Buffer => ip({ from, to, payload: { tcp: [4000, 80], flags: TCP.syn } });

    for (const family of ['ipv4', 'ipv6'] as const) {
      const world = family === 'ipv4' ? C.IDENTITY_WORLD_IPV4 : C.IDENTITY_WORLD_IPV6;

      test(`${family}: the identity that a node may speak for is believed, no other`, () => {
        const said = (vni: number, from: string): string => {
          const ran = arrives(inside(from, POD[family]), vni);
          // A connection keeps the identity of its first packet: what counts is what the pod's program is told.
          return ran.verdict === 'redirect' ? `redirect of ${ran.sourceIdentity}` : outcome(ran);
        };
        const refused = (vni: number): string => `drop TUNNEL_IDENTITY of ${vni}`;
        assert.equal(said(REMOTE.identity, REMOTE[family]), `redirect of ${REMOTE.identity}`);
        assert.equal(said(C.IDENTITY_WELL_KNOWN_FIRST, UNANNOUNCED[family]), 'redirect of 100');
        for (const vni of [C.IDENTITY_HOST, C.IDENTITY_REMOTE_NODE, C.IDENTITY_KUBE_APISERVER]) {
          assert.equal(said(vni, REMOTE_HOST[family]), 'redirect of 6');
          assert.equal(said(vni, API_SERVER[family]), 'redirect of 7');
        }
        for (const vni of [C.IDENTITY_HEALTH, C.IDENTITY_INIT, C.IDENTITY_INGRESS]) {
          assert.equal(said(vni, UNANNOUNCED[family]), `redirect of ${vni}`);
        }
        assert.equal(said(C.IDENTITY_WORLD, ELSEWHERE[family]), `redirect of ${world}`);
        assert.equal(said(C.IDENTITY_WORLD, REMOTE[family]), refused(C.IDENTITY_WORLD), "not at a pod's address");
        for (const vni of [0, 3, C.IDENTITY_WORLD_IPV4, 99, C.IDENTITY_CLUSTER_LAST + 1, 0xffffff]) {
          assert.equal(said(vni, UNANNOUNCED[family]), refused(vni));
        }
      });

      test(`${family}: a node's own address is nobody else's`, () => {
        for (const from of [POD[family], ROUTER[family]]) {
          assert.equal(outcome(arrives(inside(from, POD[family]), REMOTE.identity)), 'drop INVALID_SOURCE_IP of 0');
        }
        node.ipcache(NOBODY[family], 1);
        const said = outcome(arrives(inside(NOBODY[family], POD[family]), C.IDENTITY_HOST));
        assert.equal(said, 'drop TUNNEL_IDENTITY of 1', 'an address of the host that is no endpoint');
      });

      test(`${family}: only what nodes send is listened to`, () => {
        const frame = inside(REMOTE[family], POD[family]);
        const stranger = arrives(frame, REMOTE.identity, STRANGER[outer]);
        assert.equal(outcome(stranger), 'drop TUNNEL_PEER of 0');
        const bare = runProgram(overlay.program('from_overlay').fd, frame, {});
        assert.equal(outcome(bare), 'drop NO_TUNNEL_KEY of 0');
      });

      test(`${family}: for a pod that is not here it is dropped, for the router it goes to the host's stack`, () => {
        const lost = arrives(inside(REMOTE[family], UNANNOUNCED[family]), REMOTE.identity);
        assert.equal(outcome(lost), `drop NO_LOCAL_ENDPOINT of ${REMOTE.identity}`);
        const ran = arrives(inside(REMOTE[family], ROUTER[family]), REMOTE.identity);
        assert.equal(outcome(ran), `redirect of ${REMOTE.identity}`);
        assert.deepEqual(
          ran.frame.subarray(0, 6).toString('hex'),
          endpointMacs(0).pod.replaceAll(':', ''),
          'by the device that its address is on',
        );
        const strange = ip({
          from: REMOTE[family],
          to: ROUTER[family],
          payload: { raw: Buffer.alloc(2), protocol: 6 },
        });
        assert.equal(outcome(arrives(strange, REMOTE.identity)), `redirect of ${REMOTE.identity}`, 'its to refuse');
      });

      test(`${family}: whatever comes for the router reaches the host's stack as it came`, () => {
        const [icmp, foreign, echo, unreachable] = family === 'ipv4' ? [1, 58, 8, 3] : [58, 1, 128, 1];
        const back = ip({ from: ROUTER[family], to: REMOTE[family], payload: { udp: [53, 4000] } });
        const payloads: readonly Payload[] = [
          ...[{ udp: [4000, 53] } as const, { sctp: [4000, 80] } as const],
          ...[{ icmp: { type: echo, id: 7 } }, { icmp: { type: unreachable, quote: quoteOf(back, 60) } }],
          // Protocols without ports, and headers that are cut off or make no sense.
          ...[50, foreign, 6, 17, icmp].map((protocol) => ({ raw: Buffer.alloc(3), protocol })),
        ];
        const ends = { from: REMOTE[family], to: ROUTER[family] };
        const fragments = [0, 64].map((offset) =>
          ip({ ...ends, payload: { udp: [4000, 53] }, fragment: { id: 5, offset, more: offset === 0 } }),
        );
        const headers = [0, 43, 51, 60].map((firstExtension) => {
          const options = Buffer.from([
            6,
            ...(firstExtension === 51 ? [4, ...Array<number>(22).fill(0)] : Array<number>(7).fill(0)),
          ]);
          return ip({ ...ends, payload: { tcp: [4000, 80] }, options, firstExtension });
        });
        const frames = [...payloads.map((payload) => ip({ ...ends, payload })), ...fragments];
        for (const frame of family === 'ipv4' ? frames : [...frames, ...headers]) {
          const ran = arrives(frame, REMOTE.identity);
          assert.equal(ran.verdict, 'redirect');
          assert.equal(ran.frame.toString('hex', 6), frame.toString('hex', 6), 'all but the MAC that it is for');
        }
      });

      test(`${family}: a pod that is not ready yet gets nothing`, () => {
        node.local(NOBODY[family], { id: 199, identity: 1199 });
        const ran = arrives(inside(REMOTE[family], NOBODY[family]), REMOTE.identity);
        assert.equal(outcome(ran), `drop ENDPOINT_NOT_READY of ${REMOTE.identity}`);
      });

      test(`${family}: the host's stack sends as the host, for a pod by its device, or as a proxy's pod`, () => {
        const sends = (to: string, from: string, ingressIfindex = 0, mark = 0): string =>
          outcome(node.runHost('from_host', inside(from, to), { ingressIfindex, mark }));
        for (const to of [REMOTE[family], UNANNOUNCED[family]]) {
          assert.equal(sends(to, ROUTER[family]), 'redirect of 1');
          assert.equal(sends(to, POD[family], 1000 + POD.id), `redirect of ${POD.identity}`);
          assert.equal(sends(to, POD[family], SOME_DEVICE), 'drop INVALID_SOURCE_IP of 0', "not by the pod's device");
          assert.equal(sends(to, POD[family]), 'drop INVALID_SOURCE_IP of 0', 'by none: put together, and cut again');
          assert.equal(sends(to, ELSEWHERE[family], SOME_DEVICE), `redirect of ${world}`);
          assert.equal(
            sends(to, REMOTE[family], SOME_DEVICE),
            'drop INVALID_SOURCE_IP of 0',
            'no address of the world',
          );
        }
        const proxy = (POD.identity << 16) | C.MARK_PROXY_EGRESS;
        assert.equal(sends(REMOTE[family], POD[family], 0, proxy), `redirect of ${POD.identity}`);
        assert.equal(
          sends(REMOTE[family], POD[family], SOME_DEVICE, proxy),
          'drop INVALID_SOURCE_IP of 0',
          'no socket',
        );
        assert.equal(sends(ELSEWHERE[family], ROUTER[family]), 'drop NO_LOCAL_ENDPOINT of 1');
        assert.equal(sends(ROUTER[family], ROUTER[family]), 'drop NO_LOCAL_ENDPOINT of 1');
        const multicast = inside(ROUTER[family], family === 'ipv4' ? '224.0.0.1' : 'ff02::1');
        assert.equal(node.runHost('from_host', multicast).verdict, 'next', 'stays on the link');
      });

      test(`${family}: a pod sends through the tunnel what fits; the rest goes by the stack, which can tell it`, () => {
        const sends = (bytes: number, to: string, gsoSize = 0): string => {
          const payload = { udp: [4000, 53], data: Buffer.alloc(bytes) } as const;
          return pod.run('from_container', ip({ from: POD[family], to, payload }), { gsoSize }).verdict;
        };
        const headers = (family === 'ipv4' ? 20 : 40) + 8;
        assert.equal(sends(TUNNEL_MTU - headers, REMOTE[family]), 'redirect');
        assert.equal(sends(TUNNEL_MTU - headers + 1, REMOTE[family]), 'ok');
        assert.equal(sends(2000, REMOTE[family], TUNNEL_MTU - headers), 'redirect', 'it will be cut into such as fit');
        assert.equal(sends(2000, REMOTE[family], TUNNEL_MTU - headers + 1), 'ok');
        assert.equal(sends(10, UNANNOUNCED[family]), 'ok', 'what only a prefix knows is the stack’s to send');
        const tcp = (gsoSize: number): string => {
          const payload = { tcp: [4000, 80] } as const;
          return pod.run('from_container', ip({ from: POD[family], to: REMOTE[family], payload }), { gsoSize }).verdict;
        };
        assert.equal(tcp(TUNNEL_MTU - headers - 12), 'redirect');
        assert.equal(tcp(TUNNEL_MTU - headers - 11), 'ok');
      });

      test(`${family}: a pod does not speak the nodes' language to what may take it for a node`, () => {
        const sends = (to: string, port: number): string =>
          outcome(pod.run('from_container', ip({ from: POD[family], to, payload: { udp: [4000, port] } })));
        for (const to of [ELSEWHERE[family], REMOTE_HOST[family], ROUTER[family], UNANNOUNCED[family]]) {
          assert.equal(sends(to, TUNNEL_PORT), `drop TUNNEL_PEER of ${POD.identity}`);
          assert.equal(sends(to, TUNNEL_PORT + 1), `ok of ${POD.identity}`);
        }
        assert.equal(
          sends(REMOTE[family], TUNNEL_PORT),
          `redirect of ${POD.identity}`,
          'another pod may have a tunnel',
        );
      });

      test(`${family}: what a device brings in the name of a pod of another node did not come by the tunnel`, () => {
        const ran = node.runHost('from_netdev', inside(REMOTE[family], POD[family]), { ingressIfindex: SOME_DEVICE });
        assert.equal(outcome(ran), 'drop INVALID_SOURCE_IP of 0');
      });
    }

    test('what is not IP is dropped at the tunnel, and left alone at the host', () => {
      const other = ethernet(0x88cc, Buffer.alloc(46));
      const version = inside(REMOTE.ipv4, POD.ipv4);
      version[14] = 0x65;
      assert.equal(outcome(arrives(other, REMOTE.identity)), 'drop UNSUPPORTED_L2 of 0');
      assert.equal(outcome(arrives(version, REMOTE.identity)), 'drop INVALID_PACKET of 0');
      assert.equal(node.runHost('from_host', other).verdict, 'next');
      assert.equal(outcome(node.runHost('from_host', version)), 'drop INVALID_PACKET of 1');
    });

    test('what goes into the tunnel is counted', async () => {
      const forwarded = async (): Promise<number> => (await node.counters())['egress DROP_NONE'] ?? 0;
      const before = await forwarded();
      const { verdict } = runProgram(overlay.program('to_overlay').fd, inside(POD.ipv4, REMOTE.ipv4), {});
      assert.deepEqual([verdict, await forwarded()], ['next', before + 1]);
    });
  });
}
