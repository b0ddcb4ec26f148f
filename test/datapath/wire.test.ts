/** The same programs on real veth pairs: what test runs cannot show — deliveries, neighbours, and who is not the host. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { run, start, stop, tryRun } from '../harness/exec.ts';
import type { Netns } from '../harness/netns.ts';
import { waitFor } from '../harness/wait.ts';
import type { TestNode, TestRule } from './node.ts';
import { GATEWAY, HOST_IDENTITY, WiredNode, WORLD, WORLD_IDENTITY, type Family, type WiredPod } from './wired-node.ts';

let wired: WiredNode;
let node: TestNode;
let host: Netns;
let world: Netns;
let a: WiredPod;
let b: WiredPod;

before(async () => {
  wired = await WiredNode.start();
  ({ node, host, world } = wired);
  a = wired.addPod({ id: 51, identity: 1051, ipv4: '10.0.0.51', ipv6: 'fd00::51' });
  b = wired.addPod({ id: 52, identity: 1052, ipv4: '10.0.0.52', ipv6: 'fd00::52' });
  wired.change(a, 'allow', { direction: 'egress' });
});
after(() => wired[Symbol.asyncDispose]());

/** With rules in force for as long as `check` runs. */
async function withIngress(
  pod: WiredPod,
  rules: readonly Omit<TestRule, 'direction'>[],
  check: () => void | Promise<void>,
): Promise<void> {
  const ingress = rules.map((rule): TestRule => ({ direction: 'ingress', ...rule }));
  wired.change(pod, 'allow', ...ingress);
  try {
    await check();
  } finally {
    wired.change(pod, 'revoke', ...ingress);
    await node.forgetConnections();
  }
}

/** Whether one echo request of `ns` is answered, within so many seconds. */
function pings(ns: Netns, to: string, seconds = 30): boolean {
  return tryRun([...ns.enter, 'ping', '-n', '-c', '1', '-W', String(seconds), to]).status === 0;
}

/** Whether a TCP client in `from` gets a line from a server in `to`. */
async function talks(from: Netns, to: Netns, address: string): Promise<boolean> {
  const server = start([...to.enter, 'busybox', 'nc', '-l', '-p', '8080', '-e', 'echo', 'hello'], { stdio: 'ignore' });
  try {
    await waitFor('the server to listen', () => run([...to.enter, 'ss', '-Hltn']).includes(':8080'));
    return tryRun([...from.enter, 'nc', '-w', '30', address, '8080'], { input: '' }).stdout === 'hello\n';
  } finally {
    await stop(server, 'SIGKILL');
  }
}

for (const family of ['ipv4', 'ipv6'] as const satisfies Family[]) {
  describe(`on the wire, ${family}`, () => {
    test('pod to pod: denied until allowed, by ping and by TCP', async () => {
      assert.equal(pings(a.ns, b[family], 1), false);
      await withIngress(b, [{ identity: a.identity }], async () => {
        assert.equal(pings(a.ns, b[family]), true);
        assert.equal(await talks(a.ns, b.ns, b[family]), true);
        assert.equal(pings(b.ns, a[family], 1), false, 'what B asks is its own affair, and B may ask nothing');
      });
      assert.equal(pings(a.ns, b[family], 1), false);
    });

    test('pod to its gateway, which is the host', async () => {
      assert.equal(pings(a.ns, GATEWAY[family]), true);
      assert.equal(await talks(a.ns, host, GATEWAY[family]), true);
      assert.equal(pings(b.ns, GATEWAY[family], 1), false);
    });

    test('pod to the world and back', () => assert.equal(pings(a.ns, WORLD[family]), true));

    test('the host is the host by its sockets', () =>
      withIngress(b, [{ identity: HOST_IDENTITY }], async () => {
        assert.equal(pings(host, b[family]), true);
        assert.equal(await talks(host, b.ns, b[family]), true);
        assert.equal(pings(a.ns, b[family], 1), false);
        assert.equal(pings(world, b[family], 1), false, 'what the host forwards is not the host');
      }));

    test('an address of the host on a forwarded packet makes nobody the host', () =>
      withIngress(b, [{ identity: HOST_IDENTITY }], async () => {
        // As after masquerading: the ipcache knows the source as one of the host's addresses.
        node.ipcache(WORLD[family], HOST_IDENTITY);
        try {
          assert.equal(pings(world, b[family], 1), false);
          const asWorld = [{ identity: WORLD_IDENTITY[family] }];
          await withIngress(b, asWorld, () => assert.equal(pings(world, b[family]), true));
        } finally {
          node.ipcache(WORLD[family], WORLD_IDENTITY[family]);
        }
      }));

    test("a pod's address on what another device brought makes nobody that pod", () =>
      withIngress(b, [{ identity: a.identity }], async () => {
        const address = family === 'ipv4' ? `${a.ipv4}/32` : `${a.ipv6}/128 nodad`;
        world.ip(`addr add ${address} dev lo`);
        try {
          const drops = async (): Promise<number> => (await node.counters())['ingress DROP_INVALID_SOURCE_IP'] ?? 0;
          const before = await drops();
          tryRun([...world.enter, 'ping', '-n', '-c', '1', '-W', '1', '-I', a[family], b[family]]);
          assert.equal(await drops(), before + 1);
          assert.deepEqual(await node.connections(), []);
        } finally {
          world.ip(`addr del ${address.split(' ')[0]!} dev lo`);
        }
      }));

    test("from the network, by the host's stack and by from_netdev", () =>
      withIngress(b, [{ identity: WORLD_IDENTITY[family] }], () => {
        assert.equal(pings(world, b[family]), true);
        assert.equal(pings(host, b[family], 1), false);
        using direct = wired.attach(node.host.program('from_netdev').fd, wired.ifindexOf('ext0'), 'ingress');
        assert.equal(pings(world, b[family]), true);
        assert.equal(pings(world, a[family], 1), false);
        direct.detachSync();
      }));
  });
}

test('a policy that changes cuts a ping that runs, and another change brings it back', async () => {
  await withIngress(b, [{ identity: a.identity }], async () => {
    let lines = 0;
    const ping = start([...a.ns.enter, 'ping', '-n', '-i', '0.02', b.ipv4], { stdio: ['ignore', 'pipe', 'ignore'] });
    ping.stdout!.on('data', () => lines++);
    try {
      const answers = (): Promise<unknown> => {
        const seen = lines;
        return waitFor('answers', () => lines > seen + 3);
      };
      await answers();
      wired.change(b, 'revoke', { direction: 'ingress', identity: a.identity });
      const dropped = async (): Promise<number> => (await node.counters())['ingress DROP_POLICY_DENIED'] ?? 0;
      const before = await dropped();
      await waitFor('drops', async () => (await dropped()) > before + 3);
      const seen = lines;
      await waitFor('more drops', async () => (await dropped()) > before + 8);
      assert.equal(lines, seen, 'nothing got through in the meantime');
      wired.change(b, 'allow', { direction: 'ingress', identity: a.identity });
      await answers();
    } finally {
      await stop(ping);
    }
  });
});
