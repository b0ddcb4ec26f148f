/** Where packets come from, where they go, and what stops them on the way besides policy. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { parseMac } from '../../agent/model/mac.ts';
import { MARK_PROXY_EGRESS } from '../../bpf/gen/constants.ts';
import { ethernet, ip, TCP } from './frame.ts';
import { endpointMacs, TestNode, type EndpointPrograms } from './node.ts';
import { runTagged } from './tagged.ts';

const A = { id: 11, identity: 1011, ipv4: '10.0.0.11', ipv6: 'fd00::11' };
const B = { id: 12, identity: 1012, ipv4: '10.0.0.12', ipv6: 'fd00::12' };
const WORLD = { ipv4: '192.0.2.9', ipv6: '2001:db8::9' } as const;
const HOST = { ipv4: '10.0.0.1', ipv6: 'fd00::1' } as const;
const NODE_IDENTITY = { host: 1, world: { ipv4: 9, ipv6: 10 } } as const;

let node: TestNode;
let a: EndpointPrograms;
let b: EndpointPrograms;
let port = 2000;
const syn = (): { tcp: [number, number]; flags: number } => ({ tcp: [++port, 80], flags: TCP.syn });

before(async () => {
  node = await TestNode.start();
  a = node.endpoint(A);
  b = node.endpoint(B);
  for (const address of Object.values(HOST)) {
    node.local(address, { id: 0, identity: 1 });
    node.ipcache(address, 1);
  }
  a.allow({ direction: 'egress' });
});
after(() => node[Symbol.dispose]());

/** Runs `run` and says which counters moved. */
async function counted(run: () => void): Promise<string[]> {
  const before = await node.counters();
  run();
  const after = await node.counters();
  return Object.keys(after)
    .filter((name) => after[name] !== before[name])
    .sort();
}

for (const family of ['ipv4', 'ipv6'] as const) {
  describe(`the way of a packet, ${family}`, () => {
    test('a frame of a VLAN goes no way of a pod, and is left to the host by the devices', async () => {
      const out = ip({ from: A[family], to: B[family], payload: syn() });
      const fd = a.object.program('from_container').fd;
      for (const tag of [7, 0x2000]) {
        const moved = await counted(() => assert.equal(runTagged(fd, out, tag).verdict, 'drop'));
        assert.deepEqual(moved, ['egress DROP_UNSUPPORTED_L2']);
      }
      b.allow({ direction: 'ingress' });
      const frame = ip({ from: WORLD[family], to: B[family], payload: syn() });
      const [from, to] = (['from_netdev', 'to_netdev'] as const).map((name) => node.host.program(name).fd);
      assert.equal(runTagged(from!, frame, 7).verdict, 'next');
      assert.equal(runTagged(from!, frame, 0x2000).verdict, 'redirect', 'a priority is no VLAN');
      assert.equal(runTagged(to!, out, 7).verdict, 'next');
      b.revoke({ direction: 'ingress' });
      await node.forgetConnections();
    });

    test("pod to pod: egress policy, the other pod's ingress policy, its MACs, its link", async () => {
      const frame = ip({ from: A[family], to: B[family], payload: syn() });
      assert.equal(a.run('from_container', frame).verdict, 'drop', 'B allows nothing');
      b.allow({ direction: 'ingress', identity: A.identity, protocol: 6, port: 80 });
      node.raiseRevision(B.id);
      try {
        const ran = a.run('from_container', frame);
        assert.equal(ran.verdict, 'redirect');
        const { pod, host } = endpointMacs(B.id);
        assert.deepEqual([...ran.frame.subarray(0, 12)], [...parseMac(pod), ...parseMac(host)]);
        assert.deepEqual(ran.frame.subarray(12), frame.subarray(12), 'nothing else is touched');
        const tracked = (await node.connections()).filter((c) => c.remotePort === port || c.localPort === port);
        assert.deepEqual(tracked.map((c) => [c.direction, c.peerIdentity]).sort(), [
          ['egress', B.identity],
          ['ingress', A.identity],
        ]);
      } finally {
        b.revoke({ direction: 'ingress', identity: A.identity, protocol: 6, port: 80 });
        node.raiseRevision(B.id);
      }
    });

    test('a pod whose program is not in place gets nothing', async () => {
      const address = family === 'ipv4' ? '10.0.0.99' : 'fd00::99';
      node.local(address, { id: 99, identity: 1099 });
      const frame = ip({ from: A[family], to: address, payload: syn() });
      assert.deepEqual(await counted(() => a.run('from_container', frame)), [
        'egress DROP_ENDPOINT_NOT_READY',
        'egress DROP_NONE',
      ]);
    });

    test("to the host and to the world: the host's stack", () => {
      assert.equal(a.run('from_container', ip({ from: A[family], to: HOST[family], payload: syn() })).verdict, 'ok');
      assert.equal(a.run('from_container', ip({ from: A[family], to: WORLD[family], payload: syn() })).verdict, 'ok');
    });

    test('in the name of another address: dropped', async () => {
      const frame = ip({ from: B[family], to: WORLD[family], payload: syn() });
      assert.deepEqual(await counted(() => a.run('from_container', frame)), ['egress DROP_INVALID_SOURCE_IP']);
    });

    test('multicast does not leave the pod', async () => {
      const group = family === 'ipv4' ? '224.0.0.251' : 'ff02::fb';
      const frame = ip({ from: A[family], to: group, payload: { udp: [5353, 5353] } });
      assert.deepEqual(await counted(() => a.run('from_container', frame)), ['egress DROP_LINK_LOCAL']);
    });

    test('an address that moved away is not delivered', async () => {
      const frame = ip({ from: WORLD[family], to: B[family], payload: syn() });
      assert.deepEqual(await counted(() => a.run('policy_ingress', frame)), ['ingress DROP_UNKNOWN_TARGET']);
    });

    test('longest prefix: the ipcache tells the world from a peer inside it', async () => {
      const near = family === 'ipv4' ? '198.51.100.7' : '2001:db8:1::7';
      const wide = family === 'ipv4' ? '198.51.100.0/24' : '2001:db8:1::/64';
      node.ipcache(wide, 5000);
      a.run('from_container', ip({ from: A[family], to: near, payload: syn() }));
      node.ipcache(near, 5001);
      a.run('from_container', ip({ from: A[family], to: near, payload: syn() }));
      a.run('from_container', ip({ from: A[family], to: WORLD[family], payload: syn() }));
      const peers = (await node.connections()).filter((c) => c.localPort > port - 3 && c.localPort <= port);
      const byPort = peers.sort((x, y) => x.localPort - y.localPort).map((c) => c.peerIdentity);
      assert.deepEqual(byPort, [5000, 5001, NODE_IDENTITY.world[family]]);
    });

    describe('from the network', () => {
      test('not for a pod: none of our business', () => {
        assert.equal(
          node.runHost('from_netdev', ip({ from: WORLD[family], to: HOST[family], payload: syn() })).verdict,
          'next',
        );
        assert.equal(
          node.runHost('from_netdev', ip({ from: HOST[family], to: WORLD[family], payload: syn() })).verdict,
          'next',
        );
        assert.equal(node.runHost('from_netdev', ethernet(0x88cc, Buffer.alloc(60))).verdict, 'next');
      });

      test('for a pod: judged as the world, or as what the ipcache says', () => {
        const rule = { direction: 'ingress', identity: NODE_IDENTITY.world[family] } as const;
        const frame = (): Buffer => ip({ from: WORLD[family], to: B[family], payload: syn() });
        assert.equal(node.runHost('from_netdev', frame()).verdict, 'drop');
        b.allow(rule);
        node.raiseRevision(B.id);
        assert.equal(node.runHost('from_netdev', frame()).verdict, 'redirect');
        node.ipcache(WORLD[family], 5002);
        node.raiseRevision(0);
        assert.equal(node.runHost('from_netdev', frame()).verdict, 'drop');
        b.revoke(rule);
        node.raiseRevision(B.id);
      });

      test('with the address of the host: not the host, but the world', async () => {
        const rule = { direction: 'ingress', identity: NODE_IDENTITY.host } as const;
        b.allow(rule);
        node.raiseRevision(B.id);
        const frame = ip({ from: HOST[family], to: B[family], payload: syn() });
        assert.deepEqual(await counted(() => node.runHost('from_netdev', frame)), [
          'ingress DROP_NONE',
          'ingress DROP_POLICY_DENIED',
        ]);
        b.revoke(rule);
        node.raiseRevision(B.id);
      });

      test('with the address of a pod of this node: a lie', async () => {
        const frame = ip({ from: A[family], to: B[family], payload: syn() });
        assert.deepEqual(await counted(() => node.runHost('from_netdev', frame)), ['ingress DROP_INVALID_SOURCE_IP']);
      });
    });

    test('from a socket of the host: identity host, whatever the address', async () => {
      const rule = { direction: 'ingress', identity: NODE_IDENTITY.host } as const;
      b.allow(rule);
      node.raiseRevision(B.id);
      // BPF_PROG_TEST_RUN gives every packet a full local socket.
      const frame = ip({ from: WORLD[family], to: B[family], payload: syn() });
      assert.equal(b.run('to_container', frame).verdict, 'ok');
      const found = (await node.connections()).find((c) => c.remotePort === port);
      assert.equal(found?.peerIdentity, NODE_IDENTITY.host);
      b.revoke(rule);
      node.raiseRevision(B.id);
    });

    test('from a proxy of the host: the pod in whose name it speaks, as long as it speaks for that one', () => {
      const rule = { direction: 'ingress', identity: A.identity } as const;
      b.allow(rule);
      node.raiseRevision(B.id);
      const from = (identity: number, frame: Buffer): string =>
        b.run('to_container', frame, { mark: mark(identity) }).verdict;
      const mark = (identity: number): number => (identity << 16) | MARK_PROXY_EGRESS;
      const frame = ip({ from: HOST[family], to: B[family], payload: syn() });
      assert.equal(from(A.identity, frame), 'ok');
      assert.equal(from(A.identity + 1, frame), 'drop', 'the next pod by the same port');
      assert.equal(from(A.identity, frame), 'ok');
      const answer = ip({ from: B[family], to: HOST[family], payload: { tcp: [80, port], flags: TCP.syn | TCP.ack } });
      node.raiseRevision(B.id);
      assert.equal(b.run('from_container', answer).verdict, 'ok', 'its answer is judged again as that pod’s');
      b.revoke(rule);
      node.raiseRevision(B.id);
      assert.equal(b.run('from_container', answer).verdict, 'drop');
    });

    test('from the host to an address without a pod: dropped; with one: through its own link', async () => {
      const nowhere = family === 'ipv4' ? '10.0.0.200' : 'fd00::200';
      const lost = ip({ from: HOST[family], to: nowhere, payload: syn() });
      assert.deepEqual(await counted(() => node.runHost('from_host', lost)), ['egress DROP_NO_LOCAL_ENDPOINT']);
      const found = node.runHost('from_host', ip({ from: HOST[family], to: B[family], payload: syn() }));
      assert.equal(found.verdict, 'redirect');
      assert.deepEqual([...found.frame.subarray(0, 6)], [...parseMac(endpointMacs(B.id).pod)]);
    });

    test('out of the node: counted, and on to whoever is next', () => {
      assert.equal(
        node.runHost('to_netdev', ip({ from: HOST[family], to: WORLD[family], payload: syn() })).verdict,
        'next',
      );
    });
  });
}

test('what is neither IP nor ARP does not leave a pod or enter it', () => {
  const lldp = ethernet(0x88cc, Buffer.alloc(60));
  assert.equal(a.run('from_container', lldp).verdict, 'drop');
  assert.equal(a.run('to_container', lldp).verdict, 'drop');
});

test('a header that lies about its version or length', async () => {
  const frame = ip({ from: A.ipv4, to: WORLD.ipv4, payload: syn() });
  frame[14] = 0x65;
  assert.deepEqual(await counted(() => a.run('from_container', frame)), ['egress DROP_INVALID_PACKET']);
  frame[14] = 0x44;
  assert.deepEqual(await counted(() => a.run('from_container', frame)), ['egress DROP_INVALID_PACKET']);
});
