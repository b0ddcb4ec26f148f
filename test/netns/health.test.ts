/** Nodes that probe each other, and the endpoints that stand for their pods. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HealthStatusResponse } from '../../agent/api/models.ts';
import { Actor } from '../harness/actor.ts';
import type { Member } from '../harness/cluster.ts';
import { run } from '../harness/exec.ts';
import { KubernetesCluster } from '../harness/kubernetes-cluster.ts';
import { waitFor } from '../harness/wait.ts';

const PORT = 8080;
const POLICIES = '/apis/cilium.io/v2/namespaces/default/ciliumnetworkpolicies';

const MODES: readonly { readonly name: string; readonly nodes: number; readonly flags: readonly string[] }[] = [
  { name: 'tunnel', nodes: 3, flags: ['--routing-mode', 'tunnel'] },
  { name: 'native', nodes: 2, flags: ['--routing-mode', 'native', '--auto-direct-node-routes'] },
];

/** The health endpoint of a node, as its API shows it. */
async function healthEndpoint({ api }: Member) {
  const found = (await api.endpoints()).find(({ status }) => status?.identity?.id === 4);
  const [addressing] = found?.status?.networking?.addressing ?? [];
  if (found?.status?.state !== 'ready' || addressing?.ipv4 === undefined) return undefined;
  return { ...addressing, netns: found.status.networking!['network-namespace-path']!, labels: found.status.labels };
}

async function probe({ node }: Member): Promise<{ readonly exit: number; readonly report: HealthStatusResponse }> {
  const { stdout, status } = await node.weir('health', 'status', '--probe', '-o', 'json');
  return { exit: status, report: JSON.parse(stdout) as HealthStatusResponse };
}

const links = ({ node }: Member): string[] =>
  run(['ip', '-n', node.ns.name, '-br', 'link'])
    .split('\n')
    .filter((line) => line.startsWith('wr'));

for (const { name, nodes: count, flags } of MODES) {
  test(`${count} nodes probe each other, ${name}`, async (t) => {
    await using stack = new AsyncDisposableStack();
    const metrics = ['--metrics-listen', '127.0.0.1:9962', '--health-check-interval', '1s'];
    const cluster = stack.use(await KubernetesCluster.start({ nodes: count, flags: [...flags, ...metrics] }));
    const { members } = cluster.nodes;
    const [one, two] = members as [Member, Member];
    const server = await cluster.run(two, 'server', { app: 'server' });
    await server.actor.do({ op: 'serve', port: PORT });

    await t.test('all answer: nodes and health endpoints, by both protocols over both families', async () => {
      await waitFor(
        'every node to reach every node',
        async () => {
          const probes = await Promise.all(members.map(probe));
          return probes.every(({ exit, report }) => exit === 0 && report.nodes?.length === count && isWhole(report));
        },
        60_000,
      );
      assert.match(
        (await one.node.weir('status')).stdout,
        new RegExp(`Cluster health: +Ok +${count}/${count} reachable`),
      );
    });

    await t.test('the endpoint has identity 4, and is nobody’s to delete', async () => {
      const { stdout } = await one.node.weir('endpoint', 'list');
      assert.match(stdout, / 4 +reserved:health /);
      const [endpoint] = (await one.api.endpoints()).filter(({ status }) => status?.identity?.id === 4);
      await assert.rejects(one.api.deleteEndpoint(String(endpoint!.id)), { code: 'ENDPOINT_INVALID' });
      const nodes = await cluster.server.list('/apis/cilium.io/v2/ciliumnodes');
      const announced = nodes.map(({ spec }) => (spec as { health: { ipv4: string } }).health.ipv4).toSorted();
      const own = await Promise.all(members.map(async (member) => (await healthEndpoint(member))!.ipv4));
      assert.deepEqual(announced, own.toSorted());
    });

    await t.test('a policy that lets health in lets in that of other nodes, and nobody else', async () => {
      const { netns } = (await healthEndpoint(one))!;
      const health = stack.use(await Actor.start({ enter: ['nsenter', `--net=${netns}`] }));
      const stranger = await cluster.run(one, 'stranger', { app: 'stranger' });
      await cluster.server.create(POLICIES, {
        ...{
          apiVersion: 'cilium.io/v2',
          kind: 'CiliumNetworkPolicy',
          metadata: { name: 'server', namespace: 'default' },
        },
        spec: { endpointSelector: { matchLabels: { app: 'server' } }, ingress: [{ fromEntities: ['health'] }] },
      });
      const tcp = (from: Actor, host: string): Promise<string> =>
        from.do({ op: 'tcp', host, port: PORT, timeoutMs: 1000 });
      await waitFor(
        'strangers to be denied',
        async () => (await tcp(stranger.actor, server.ipv4)) === 'timeout',
        20_000,
      );
      for (const host of [server.ipv4, server.ipv6]) {
        assert.equal(await tcp(health, host), 'ok', host);
        assert.equal(await tcp(stranger.actor, host), 'timeout', host);
      }
      await cluster.end(stranger);
    });

    // The rest is the same however packets travel.
    const last = members[2];
    if (last === undefined) return;

    await t.test(
      'an agent that is killed leaves no link, and gives its endpoint the same addresses again',
      async () => {
        const before = (await healthEndpoint(last))!;
        assert.equal(links(last).length, 1);
        await last.node.stopAgent('SIGKILL');
        await waitFor('the link to go', () => links(last).length === 0, 20_000);
        await last.node.startAgent();
        const after = await waitFor('the health endpoint', () => healthEndpoint(last), 20_000);
        assert.deepEqual([after.ipv4, after.ipv6], [before.ipv4, before.ipv6]);
        assert.equal(links(last).length, 1);
        await waitFor('it to be reached', async () => (await probe(one)).exit === 0, 30_000);
      },
    );

    await t.test('a node that is cut off is unreachable: in the report, the state and the metrics', async () => {
      last.node.ns.ip('link set eth0 down');
      const { exit, report } = await probe(one);
      assert.equal(exit, 1);
      const lost = report.nodes!.filter((node) => JSON.stringify(node).includes('no answer'));
      assert.deepEqual(
        lost.map((node) => node.name),
        [`default/${last.node.name}`],
      );
      const { stdout, status } = await one.node.weir('status');
      const place = `${last.node.name} \\(node and endpoint\\)`;
      assert.match(stdout, new RegExp(`Cluster health: +Ok +2/3 reachable, unreachable: ${place}`));
      assert.equal(status, 0, 'the agent itself is well');
      const text = run([...one.node.ns.enter, 'curl', '-s', 'http://127.0.0.1:9962/metrics']);
      for (const line of [
        /^cilium_unreachable_nodes 1$/m,
        /^cilium_unreachable_health_endpoints 1$/m,
        /^cilium_node_health_connectivity_status\{.*type="node",status="reachable"\} 2$/m,
        /^cilium_node_health_connectivity_latency_seconds_count\{.*type="endpoint",protocol="icmp",.*\} [1-9]/m,
      ]) {
        assert.match(text, line);
      }
    });
  });
}

/** Whether every node has answered at a node's and an endpoint's address of both families. */
function isWhole({ nodes = [] }: HealthStatusResponse): boolean {
  return nodes.every(({ host, 'health-endpoint': endpoint }) =>
    [host, endpoint].every((part) => {
      const paths = [part?.['primary-address'], ...(part?.['secondary-addresses'] ?? [])];
      return paths.length === 2 && paths.every((path) => path?.icmp?.status === '' && path.http?.status === '');
    }),
  );
}
