/** A policy that does not fit its map: nothing passes, everybody is told, and it ends by itself. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runAsync } from '../harness/exec.ts';
import { WeirNode } from '../harness/node.ts';
import { Pod, podManifest, serverPolicy } from '../harness/pod.ts';
import { SILENCE_MS, waitFor } from '../harness/wait.ts';

const METRICS = '127.0.0.1:9962';

/** The policy takes an entry for each port. */
function portsPolicy(ports: number): string {
  const ranges = Array.from({ length: Math.ceil(ports / 40) }, (_, i) => {
    const own = Array.from({ length: Math.min(40, ports - 40 * i) }, (_port, k) => 10_001 + 2 * (40 * i + k));
    return `        - ports: [${own.map((port) => `{ port: "${port}", protocol: TCP }`).join(', ')}]`;
  });
  return `${serverPolicy('client')}    - fromEndpoints:
        - matchLabels:
            app: client
      toPorts:
${ranges.join('\n')}
`;
}

async function metric(node: WeirNode, name: string): Promise<number> {
  const { stdout } = await runAsync([...node.ns.enter, 'curl', '-s', `http://${METRICS}/metrics`]);
  const line = stdout.split('\n').find((text) => text.startsWith(name) && !text.startsWith('#'));
  return Number(line?.split(' ').at(-1));
}

test('a policy that does not fit its map locks the endpoint down until one fits', async (t) => {
  await using stack = new AsyncDisposableStack();
  const node = stack.use(new WeirNode({ name: 'limits', flags: ['--metrics-listen', METRICS] }));
  for (const app of ['server', 'client', 'other']) node.manifest(`${app}.yaml`, podManifest(app, { app }));
  node.manifest('policy.yaml', serverPolicy('client'));
  await node.startAgent(['--bpf-policy-map-max', '256']);
  const server = stack.use(await Pod.create(node, 'server'));
  const client = stack.use(await Pod.create(node, 'client'));
  const other = stack.use(await Pod.create(node, 'other'));
  const reaches = async (pod: Pod): Promise<boolean> =>
    (await pod.actor.do({ op: 'icmp', host: server.ipv4, timeoutMs: SILENCE_MS })) === 'ok';
  const listed = async (): Promise<string> => (await node.weir('endpoint', 'list')).stdout;

  const watching = new AbortController();
  let passed = 0;
  const watch = (async () => {
    while (!watching.signal.aborted) if (await reaches(other)) passed++;
  })();

  await t.test('before', async () => {
    await waitFor('the permission', () => reaches(client));
    assert.doesNotMatch(await listed(), /lockdown|entries/);
    assert.ok((await metric(node, 'cilium_bpf_map_pressure')) < 0.1);
    assert.equal(await metric(node, 'weir_endpoint_lockdown'), 0);
  });

  await t.test('too much: not even what is allowed passes, and everybody is told', async () => {
    node.manifest('policy.yaml', portsPolicy(300));
    await waitFor('the lockdown', async () => /lockdown: policy takes 30\d of 256 entries/.test(await listed()));
    assert.equal(await reaches(client), false);
    assert.ok((await metric(node, 'cilium_bpf_map_pressure')) > 1);
    assert.equal(await metric(node, 'weir_endpoint_lockdown'), 1);
    const status = await node.weir('status');
    assert.match(status.stdout, /Policy maps: +endpoint \d+: 30\d of 256 entries, all its traffic is dropped/);
    const drops = await node.weir('bpf', 'metrics', 'list');
    assert.match(drops.stdout, /lockdown/i);
  });

  await t.test('it outlasts the agent', async () => {
    await node.stopAgent();
    assert.equal(await reaches(client), false);
    await node.startAgent(['--bpf-policy-map-max', '256']);
    await waitFor('the report', async () => /lockdown/.test(await listed()));
    assert.equal(await reaches(client), false);
  });

  await t.test('it ends by itself when the policy shrinks', async () => {
    node.manifest('policy.yaml', portsPolicy(240));
    await waitFor('the permission', () => reaches(client));
    await waitFor('the warning', async () => /ready, policy takes 24\d of 256 entries/.test(await listed()));
    assert.equal(await metric(node, 'weir_endpoint_lockdown'), 0);
  });

  await t.test('it ends with an agent that makes larger maps, and the next agent may make smaller ones', async () => {
    node.manifest('policy.yaml', portsPolicy(300));
    await waitFor('the lockdown', async () => /lockdown/.test(await listed()));
    await node.stopAgent();
    await node.startAgent(['--bpf-policy-map-max', '1024']);
    await waitFor('the permission', () => reaches(client));
    assert.doesNotMatch(await listed(), /lockdown/);
    node.manifest('policy.yaml', serverPolicy('client'));
    await node.stopAgent();
    await node.startAgent(['--bpf-policy-map-max', '512']);
    await waitFor('the permission', () => reaches(client));
  });

  watching.abort();
  await watch;
  assert.equal(passed, 0, 'nothing denied got through');
});
