/** Three nodes on an API server: pods created through it, policies from it, and what happens when parts of it go away. */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import type { Etcd } from '../harness/etcd.ts';
import { KubernetesCluster } from '../harness/kubernetes-cluster.ts';
import type { Pod } from '../harness/pod.ts';
import { ANSWER_MS, SILENCE_MS, waitFor } from '../harness/wait.ts';

const PORT = 8080;
const POLICIES = '/apis/cilium.io/v2/namespaces/default/ciliumnetworkpolicies';

const policy = (ingress: unknown, name = 'server') => ({
  ...{ apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: { name, namespace: 'default' } },
  spec: { endpointSelector: { matchLabels: { app: 'server' } }, ingress: [ingress] },
});
const from = (app: string) => ({ fromEndpoints: [{ matchLabels: { app } }] });

for (const kvstore of [false, true]) {
  test(`three nodes on an API server${kvstore ? ' and etcd' : ''}`, (t) => scenario(t, kvstore));
}

async function scenario(t: TestContext, kvstore: boolean): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const cluster = stack.use(await KubernetesCluster.start({ nodes: 3, flags: ['--routing-mode', 'tunnel'], kvstore }));
  const { server: api } = cluster;
  const [one, two, three] = cluster.nodes.members as [Member, Member, Member];
  const server = await cluster.run(one, 'server', { app: 'server' });
  const client = await cluster.run(two, 'client', { app: 'client' });
  const stranger = await cluster.run(three, 'stranger', { app: 'stranger' });
  await server.actor.do({ op: 'serve', port: PORT });
  await cluster.settled();
  const tcp = async (pod: Pod, host = server.ipv4): Promise<string> =>
    await pod.actor.do({ op: 'tcp', host, port: PORT, timeoutMs: ANSWER_MS });
  const knock = async (pod: Pod): Promise<string> =>
    await pod.actor.do({ op: 'tcp', host: server.ipv4, port: PORT, timeoutMs: SILENCE_MS });
  const becomes = async (pod: Pod, answer: string): Promise<void> => {
    await waitFor(`${pod.name} to get ${answer}`, async () => (await knock(pod)) === answer);
  };

  await t.test('nodes and endpoints are announced, each pod under one identity', async () => {
    const endpoints = await api.list('/apis/cilium.io/v2/ciliumendpoints');
    assert.equal(endpoints.length, 3);
    const identities = (await api.list('/apis/cilium.io/v2/ciliumidentities')).length;
    assert.equal(identities, kvstore ? 0 : 3);
    if (kvstore) checkKeys(cluster.etcd, [server, client, stranger]);
    assert.equal((await api.list('/apis/cilium.io/v2/ciliumnodes')).length, 3);
    for (const pod of [client, stranger]) assert.equal(await tcp(pod), 'ok');
    assert.equal(await tcp(client, server.ipv6), 'ok');
  });

  await t.test('a policy of the API holds on every node, by labels and by namespace', async () => {
    await api.create(POLICIES, policy(from('client')));
    await becomes(stranger, 'timeout');
    assert.equal(await tcp(client), 'ok');
    await api.merge(`${POLICIES}/server`, { spec: policy(from('stranger')).spec });
    await becomes(client, 'timeout');
    await becomes(stranger, 'ok');
    await api.merge(`${POLICIES}/server`, { spec: policy({ fromEntities: ['cluster'] }).spec });
    await becomes(client, 'ok');
    await api.merge(`${POLICIES}/server`, { spec: policy({ fromCIDR: [`${stranger.ipv4}/32`] }).spec });
    await becomes(client, 'timeout');
    assert.equal(await knock(stranger), 'timeout', 'a prefix never selects pods');
    await api.merge(`${POLICIES}/server`, { spec: policy(from('client')).spec });
    await becomes(client, 'ok');
  });

  await t.test('a pod that changes its labels has its new rights within a second', async () => {
    await api.merge('/api/v1/namespaces/default/pods/stranger', { metadata: { labels: { app: 'client' } } });
    await becomes(stranger, 'ok');
    await api.merge('/api/v1/namespaces/default/pods/stranger', { metadata: { labels: { app: 'stranger' } } });
    await becomes(stranger, 'timeout');
  });

  await t.test('an agent that is killed changes no verdict, and catches up', async () => {
    await one.node.stopAgent('SIGKILL');
    assert.equal(await tcp(client), 'ok');
    assert.equal(await knock(stranger), 'timeout');
    await api.merge(`${POLICIES}/server`, { spec: policy(from('stranger')).spec });
    await one.node.startAgent();
    await becomes(stranger, 'ok');
    await becomes(client, 'timeout');
    await api.merge(`${POLICIES}/server`, { spec: policy(from('client')).spec });
    await becomes(client, 'ok');
    await becomes(stranger, 'timeout');
  });

  await t.test('an API server that is away changes no verdict; status says so; then all is caught up', async () => {
    await api.kill();
    await waitFor(
      'status to say so',
      async () => /Kubernetes:.*cut off/.test((await one.node.weir('status')).stdout),
      30_000,
    );
    assert.equal(await tcp(client), 'ok');
    assert.equal(await knock(stranger), 'timeout');
    await api.restart();
    await waitFor('status to be well', async () => (await one.node.weir('status')).status === 0);
    await api.merge(`${POLICIES}/server`, { spec: policy(from('stranger')).spec });
    await becomes(stranger, 'ok');
    await becomes(client, 'timeout');
  });

  await t.test('what is deleted is gone everywhere', async () => {
    const address = `${client.ipv4}/32`;
    await cluster.end(client);
    await waitFor('the endpoint to go', async () => {
      const known = await Promise.all([one, three].map(async (member) => await member.api.ips()));
      return known.every((entries) => !entries.some(({ cidr }) => cidr === address));
    });
    assert.equal((await api.list('/apis/cilium.io/v2/ciliumendpoints')).length, 2);
  });
  if (!kvstore) return;

  await t.test('etcd that is away changes no verdict; what is known goes on, what is not fails in time', async () => {
    await cluster.etcd.halt();
    const away = /KVStore:.*cut off since/;
    await waitFor('status to say so', async () => away.test((await three.node.weir('status')).stdout));
    assert.equal(await tcp(stranger), 'ok');
    const twin = await cluster.run(three, 'twin', { app: 'stranger' });
    assert.equal(await tcp(twin), 'ok', 'labels that the cluster knows have their identity');
    await assert.rejects(cluster.run(two, 'novel', { app: 'novel' }), /etcd|KVSTORE|lease|kvstore/i);
    await api.merge(`${POLICIES}/server`, { spec: policy(from('client')).spec });
    await becomes(stranger, 'timeout');
    await becomes(twin, 'timeout');
    await cluster.etcd.resume();
    const well = async (): Promise<boolean> => /KVStore: +Ok/.test((await three.node.weir('status')).stdout);
    await waitFor('status to be well', well);
    await cluster.settled();
    checkKeys(cluster.etcd, [server, stranger, twin]);
    await api.merge(`${POLICIES}/server`, { spec: policy(from('stranger')).spec });
    await becomes(stranger, 'ok');
    await becomes(twin, 'ok');
  });

  await t.test('etcd that comes back with nothing is filled again, and nobody is dropped meanwhile', async () => {
    await cluster.etcd.wipe();
    await waitFor('the keys to be back', async () => {
      assert.equal(await tcp(stranger), 'ok');
      return cluster.etcd.keys('cilium/state/ip/v1/default/').size === 6;
    });
    await waitFor('the identities to be back', () => cluster.etcd.keys('cilium/state/identities/v1/id/').size === 2);
    // A node without pods has this key alone, and need not be the first to be back.
    await waitFor('the nodes to be back', () => cluster.etcd.keys('cilium/state/nodes/v1/default/').size === 3);
    assert.equal(await tcp(stranger), 'ok');
  });
}

/** Everything that agents say of these pods stands in etcd, as Cilium has it. */
function checkKeys(etcd: Etcd, pods: readonly Pod[]): void {
  const labels = etcd.keys('cilium/state/identities/v1/id/');
  const users = etcd.keys('cilium/state/identities/v1/value/');
  for (const pod of pods) {
    for (const ip of [pod.ipv4, pod.ipv6]) {
      const pair = JSON.parse(
        etcd.keys(`cilium/state/ip/v1/default/${ip}`).get(`cilium/state/ip/v1/default/${ip}`) ?? '{}',
      ) as {
        readonly ID?: number;
        readonly K8sPodName?: string;
      };
      assert.equal(pair.K8sPodName, pod.name);
      const text = labels.get(`cilium/state/identities/v1/id/${pair.ID}`);
      assert.ok(text?.includes('k8s:app='), `the labels of ${pod.name}`);
      assert.equal(users.get(`cilium/state/identities/v1/value/${text}/${pod.node.name}`), String(pair.ID));
    }
  }
  const node = JSON.parse(etcd.keys('cilium/state/nodes/v1/default/node1').values().next().value ?? '{}') as object;
  assert.deepEqual(
    Object.entries(node).filter(([name]) => ['Name', 'Cluster', 'IPv4AllocCIDR'].includes(name)),
    [
      ['Name', 'node1'],
      ['Cluster', 'default'],
      ['IPv4AllocCIDR', { IP: '10.244.1.0', Mask: '////AA==' }],
    ],
  );
}

type Member = KubernetesCluster['nodes']['members'][number];
