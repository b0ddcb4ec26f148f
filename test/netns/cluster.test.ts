/** Pods, hosts and policies across nodes, with packets tunnelled or routed between them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Actor } from '../harness/actor.ts';
import { Cluster } from '../harness/cluster.ts';
import { Pod, podManifest, serverPolicy } from '../harness/pod.ts';
import { ANSWER_MS, SILENCE_MS, waitFor } from '../harness/wait.ts';

const PORT = 8080;

const MODES: readonly { readonly name: string; readonly flags: readonly string[] }[] = [
  { name: 'tunnel over IPv4', flags: ['--routing-mode', 'tunnel'] },
  { name: 'tunnel over IPv6', flags: ['--routing-mode', 'tunnel', '--underlay-protocol', 'ipv6'] },
  { name: 'native', flags: ['--routing-mode', 'native', '--auto-direct-node-routes'] },
];

for (const { name, flags } of MODES) {
  test(`two nodes, ${name}`, async (t) => {
    await using stack = new AsyncDisposableStack();
    const cluster = stack.use(await Cluster.start({ nodes: 2, flags }));
    const [one, two] = cluster.members as [(typeof cluster.members)[0], (typeof cluster.members)[0]];
    for (const pod of ['client', 'server', 'other']) cluster.manifest(`${pod}.yaml`, podManifest(pod, { app: pod }));
    const client = stack.use(await Pod.create(one.node, 'client'));
    const other = stack.use(await Pod.create(one.node, 'other'));
    const server = stack.use(await Pod.create(two.node, 'server'));
    await server.actor.do({ op: 'serve', port: PORT });
    await cluster.publish();
    const reach = async (from: Actor, op: 'tcp' | 'udp' | 'icmp', host: string): Promise<string> =>
      await from.do({ op, host, port: PORT, timeoutMs: ANSWER_MS });
    const knock = async (from: Actor, op: 'tcp' | 'udp' | 'icmp', host: string): Promise<string> =>
      await from.do({ op, host, port: PORT, timeoutMs: SILENCE_MS });

    for (const [family, host] of [
      ['IPv4', server.ipv4],
      ['IPv6', server.ipv6],
    ] as const) {
      for (const op of ['tcp', 'udp', 'icmp'] as const) {
        await t.test(`pod to remote pod: ${op} over ${family}`, async () => {
          assert.equal(await reach(client.actor, op, host), 'ok');
        });
      }
    }

    await t.test('the policy knows who sends, not only from where', async () => {
      cluster.manifest('policy.yaml', serverPolicy('client'));
      await waitFor('the denial', async () => (await knock(other.actor, 'tcp', server.ipv4)) === 'timeout');
      assert.equal(await reach(client.actor, 'tcp', server.ipv4), 'ok');
      assert.equal(await reach(client.actor, 'tcp', server.ipv6), 'ok');
      assert.equal(await knock(other.actor, 'tcp', server.ipv6), 'timeout');
      cluster.manifest('policy.yaml', '');
      await waitFor('the end of the policy', async () => (await reach(other.actor, 'tcp', server.ipv4)) === 'ok');
    });

    await t.test('a host reaches pods of the other node, and pods its host', async () => {
      const host = stack.use(await Actor.start(one.node.ns));
      const remoteHost = stack.use(await Actor.start(two.node.ns));
      await remoteHost.do({ op: 'serve', port: PORT, addresses: [two.ipv4, two.ipv6] });
      for (const op of ['tcp', 'udp', 'icmp'] as const) {
        assert.equal(await reach(host, op, server.ipv4), 'ok', `host, ${op} over IPv4`);
        assert.equal(await reach(host, op, server.ipv6), 'ok', `host, ${op} over IPv6`);
        assert.equal(await reach(client.actor, op, two.ipv4), 'ok', `remote host, ${op} over IPv4`);
        assert.equal(await reach(client.actor, op, two.ipv6), 'ok', `remote host, ${op} over IPv6`);
      }
    });

    await t.test('the node tells of the others', async () => {
      const { stdout: nodes } = await one.node.weir('node', 'list');
      for (const { node, ipv4, podCidrs } of cluster.members) {
        assert.match(nodes, new RegExp(`default/${node.name} +${ipv4} +${podCidrs[0]}`));
      }
      const tunnelled = flags.includes('tunnel');
      const { stdout: status } = await one.node.weir('status');
      assert.match(status, tunnelled ? /Network: Tunnel \[vxlan\]/ : /Network: Native/);
      const { stdout: tunnels } = await one.node.weir('bpf', 'tunnel', 'list', '-o', 'json');
      const found = (JSON.parse(tunnels) as { prefix: string }[]).map(({ prefix }) => prefix).sort();
      assert.deepEqual(found, tunnelled ? [...two.podCidrs].sort() : []);
      const { stdout: entry } = await one.node.weir('bpf', 'ipcache', 'get', server.ipv4, '-o', 'json');
      assert.equal('tunnel-endpoint' in (JSON.parse(entry) as object), tunnelled);
    });

    await t.test('packets of every size pass', async () => {
      for (const host of [server.ipv4, server.ipv6]) {
        assert.equal(
          await client.actor.do({ op: 'bulk', host, port: PORT, bytes: 4 << 20, timeoutMs: 4 * ANSWER_MS }),
          'ok',
        );
      }
    });
  });
}
