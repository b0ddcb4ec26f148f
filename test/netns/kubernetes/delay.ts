/** A policy change reaches the kernels of all three nodes, and each agent's metrics tell how long that took. */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { KernelWatch } from '../../bench/scale/kernel-watch.ts';
import { runAsync } from '../../harness/exec.ts';
import { waitFor } from '../../harness/wait.ts';
import { METRICS, POLICIES, type Scene } from './scene.ts';

const CHANGES = 3;

export async function delay(t: TestContext, scene: Scene): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const { members, server } = scene;
  const { server: api } = scene.cluster;
  const watches = await watchClients(scene);
  for (const watch of watches) stack.use(watch);
  const identity = (await members[0].api.ips()).find(({ cidr }) => cidr === `${server.ipv4}/32`)!.identity;
  const before = await Promise.all(members.map(async (member) => await delays(member)));
  const entry = (port: number, present: boolean) => ({ direction: 'ingress' as const, identity, port, present });
  for (let port = 1; port <= CHANGES; port++) {
    if (port === 1) await api.create(POLICIES, clientPolicy(port));
    else await api.merge(`${POLICIES}/client`, { spec: clientPolicy(port).spec });
    const answered = process.hrtime.bigint();
    const expected = [entry(port, true), ...(port === 1 ? [] : [entry(port - 1, false)])];
    const times = await Promise.all(watches.map(async (watch) => await watch.see(expected, 'all')));
    const took = times.map((time) => `${(Number(time - answered) / 1e6).toFixed(0)} ms`);
    t.diagnostic(`in the kernel of each node ${took.join(', ')} after the answer`);
  }
  for (const [i, member] of members.entries()) {
    const { node } = member;
    const after = await waitFor(`${node.name} to have counted them`, async () => {
      const now = await delays(member);
      return now.count >= before[i]!.count + 1 && now.changes === before[i]!.changes + CHANGES ? now : undefined;
    });
    assert.ok(after.sum > before[i]!.sum, `${node.name}: the time of it`);
    const late = after.count - before[i]!.count - (after.withinTen - before[i]!.withinTen);
    assert.equal(late, 0, `${node.name}: no change took more than ten seconds`);
  }
}

/** Of the clients, one of which is on each node. */
const clientPolicy = (port: number) => ({
  ...{ apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: { name: 'client', namespace: 'default' } },
  spec: {
    endpointSelector: { matchLabels: { app: 'client' } },
    ingress: [
      {
        fromEndpoints: [{ matchLabels: { app: 'server' } }],
        toPorts: [{ ports: [{ port: String(port), protocol: 'TCP' }] }],
      },
    ],
  },
});

/** The policy map of each node's client. */
async function watchClients({ members, clients }: Scene): Promise<readonly KernelWatch[]> {
  return await Promise.all(
    members.map(async ({ node, api }, i) => {
      const { id } = await api.endpoint(`pod-name:default/${clients[i]!.name}`);
      return new KernelWatch(node.bpfRoot, [id]);
    }),
  );
}

/** What an agent says of the time that its policy changes took. */
async function delays({ node }: Scene['members'][number]) {
  const { stdout } = await runAsync([...node.ns.enter, 'curl', '-s', `http://${METRICS}/metrics`]);
  const value = (name: string): number => {
    const line = stdout.split('\n').find((text) => text.startsWith(`${name} `));
    assert.ok(line !== undefined, `${node.name} counts ${name}`);
    return Number(line.split(' ').at(-1));
  };
  return {
    count: value('cilium_policy_implementation_delay_count{source="k8s"}'),
    sum: value('cilium_policy_implementation_delay_sum{source="k8s"}'),
    withinTen: value('cilium_policy_implementation_delay_bucket{le="10",source="k8s"}'),
    changes: value('cilium_policy_change_total{outcome="success"}'),
  };
}
