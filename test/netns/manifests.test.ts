/** Manifests are watched: a change takes effect without a restart, and a bad one leaves in force what was. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WeirNode } from '../harness/node.ts';
import { Pod, podManifest, serverPolicy } from '../harness/pod.ts';
import { SILENCE_MS, waitFor } from '../harness/wait.ts';

test('policies and pods follow their manifests while the agent runs', async (t) => {
  await using stack = new AsyncDisposableStack();
  const node = stack.use(new WeirNode({ name: 'manifests' }));
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
});
