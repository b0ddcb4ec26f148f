/** Manifests are watched: a change takes effect without a restart, and a bad one leaves in force what was. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WeirNode } from '../harness/node.ts';
import { Pod, podManifest, serverPolicy } from '../harness/pod.ts';
import { PATIENCE_MS, SILENCE_MS, waitFor } from '../harness/wait.ts';

test('policies and pods follow their manifests while the agent runs', async (t) => {
  await using stack = new AsyncDisposableStack();
  const node = stack.use(new WeirNode({ name: 'manifests', flags: ['--enable-bandwidth-manager'] }));
  node.manifest('server.yaml', podManifest('server', { app: 'server' }));
  node.manifest('client.yaml', podManifest('client', { app: 'client' }));
  await node.startAgent();
  const server = stack.use(await Pod.create(node, 'server'));
  const client = stack.use(await Pod.create(node, 'client'));
  const reach = async (): Promise<boolean> =>
    (await client.actor.do({ op: 'icmp', host: server.ipv4, timeoutMs: SILENCE_MS })) === 'ok';
  assert.ok(await reach(), 'without policies everything is allowed');

  await t.test('a policy that appears is enforced', async () => {
    node.manifest('policy.yaml', serverPolicy('nobody'));
    await waitFor('the denial', async () => !(await reach()));
  });

  await t.test('a policy that changes is enforced in its new form', async () => {
    node.manifest('policy.yaml', serverPolicy('client'));
    await waitFor('the permission', reach);
  });

  await t.test(
    'a policy that becomes invalid is reported by file, line and field, and its last good form stays',
    async () => {
      node.manifest('policy.yaml', serverPolicy('nobody').replace('fromEndpoints', 'fromEndpionts'));
      await waitFor('the report', () => /policy\.yaml:\d+.*fromEndpionts/.test(node.logTail(200)));
      assert.ok(await reach(), 'the last good form allows the client');
    },
  );

  await t.test('a file that is no YAML is reported, and what it held stays', async () => {
    node.manifest('policy.yaml', 'kind: [unclosed\n');
    await waitFor('the report', () => /policy\.yaml:\d+:\d+.*unclosed|policy\.yaml:\d+/.test(node.logTail(5)));
    assert.ok(await reach());
  });

  await t.test('a pod whose labels change gets another identity, and the policy of that identity', async () => {
    node.manifest('policy.yaml', serverPolicy('client'));
    node.manifest('client.yaml', podManifest('client', { app: 'other' }));
    await waitFor('the denial', async () => !(await reach()));
    node.manifest('client.yaml', podManifest('client', { app: 'client' }));
    await waitFor('the permission', reach);
  });

  await t.test('a policy that is removed is no longer enforced', async () => {
    node.manifest('policy.yaml', serverPolicy('nobody'));
    await waitFor('the denial', async () => !(await reach()));
    node.manifest('policy.yaml', '');
    await waitFor('the permission', reach);
  });

  await t.test('a limit of bandwidth takes effect at once, and outlasts the agent', async () => {
    await server.actor.do({ op: 'serve', port: PORT });
    const far = async (): Promise<boolean> => (await transferRate(client, server)) > 2 * LIMIT;
    await waitFor('the speed of no limit', far);
    node.manifest('client.yaml', limited('egress', '50M'));
    await waitFor('the limit', async () => /Egress +50M +1562500\n/.test(await limits(node)));
    await keepsLimit(client, server);
    node.manifest('client.yaml', limited('egress', 'fifty'));
    await waitFor('the report', () => /Pod default\/client: .*egress-bandwidth.*fifty/.test(node.logTail(20)));
    assert.match(await limits(node), /Egress +50M/);
    // The echo comes back through the limit of what the client is sent.
    node.manifest('client.yaml', limited('ingress', '50M'));
    await waitFor('the other limit', async () => /Ingress +50M/.test(await limits(node)));
    assert.doesNotMatch(await limits(node), /Egress/);
    await node.stopAgent();
    await keepsLimit(client, server);
  });
});

const PORT = 7000;
/** Bits a second. */
const LIMIT = 50e6;
const BYTES = 6_000_000;
/** What passes at once when nothing has passed for a while, and one packet that the kernel has not cut yet. */
const BURST = LIMIT / 8 / 4 + 65_536;

const limited = (direction: 'ingress' | 'egress', rate: string): string =>
  podManifest('client', { app: 'client' }).replace(
    'spec:',
    `  annotations: { kubernetes.io/${direction}-bandwidth: ${JSON.stringify(rate)} }\nspec:`,
  );

const limits = async (node: WeirNode): Promise<string> => (await node.weir('bpf', 'bandwidth', 'list')).stdout;

/** Bits a second at which the client gets an echo of many bytes over TCP, those that may pass at once left out. */
async function transferRate(client: Pod, server: Pod): Promise<number> {
  const began = performance.now();
  const exchange = { op: 'bulk', host: server.ipv4, port: PORT, bytes: BYTES, timeoutMs: PATIENCE_MS } as const;
  assert.equal(await client.actor.do(exchange), 'ok');
  return ((BYTES - BURST) * 8) / ((performance.now() - began) / 1000);
}

/** No transfer may be faster; how slow one is the machine has a say in, so one that is as fast as it may be will do. */
async function keepsLimit(client: Pod, server: Pod): Promise<void> {
  let fastest = 0;
  await waitFor('the rate of the limit', async () => {
    fastest = Math.max(fastest, await transferRate(client, server));
    return fastest > 0.3 * LIMIT;
  });
  assert.ok(fastest < 1.15 * LIMIT, `${Math.round(fastest / 1e6)} Mbit/s`);
}
