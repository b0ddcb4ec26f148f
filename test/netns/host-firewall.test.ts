/** The node under policies of nodes: a world host, a pod and the node itself talk for real. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { ApiClient } from '../../agent/api/client.ts';
import { Actor } from '../harness/actor.ts';
import { run } from '../harness/exec.ts';
import { Cluster, type Member } from '../harness/cluster.ts';
import { NODE_ADDRESSES, WeirNode, WORLD_ADDRESSES } from '../harness/node.ts';
import { Pod, podManifest, serverPolicy } from '../harness/pod.ts';
import { backendOf, serviceManifest } from '../harness/service.ts';
import { ANSWER_MS, SILENCE_MS, waitFor } from '../harness/wait.ts';

const SSH = 2222;
const WEB = 8080;

const nodeManifest = (name: string, role: string): string => `apiVersion: v1
kind: Node
metadata: { name: ${name}, labels: { role: ${role}, kubernetes.io/os: linux } }
status: { addresses: [{ type: InternalIP, address: ${NODE_ADDRESSES.v4} }] }
`;

const hostPolicy = (sections: string): string => `apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: { name: nodes }
spec:
  nodeSelector: { matchLabels: { role: worker } }
${sections}`;

const SSH_ONLY = hostPolicy(`  ingress:
    - fromEntities: [world]
      toPorts: [{ ports: [{ port: "${SSH}", protocol: TCP }] }]
`);
const PODS_TO_WEB = `  ingress:
    - fromEndpoints: [{ matchLabels: { app: client } }]
      toPorts: [{ ports: [{ port: "${WEB}", protocol: TCP }] }]
`;
const NO_WEB_OUT = hostPolicy(`  egress:
    - toEntities: [world]
      toPorts: [{ ports: [{ port: "${SSH}", protocol: TCP }] }]
`);

test('policies of nodes judge what comes for the node and what it sends', async (t) => {
  await using stack = new AsyncDisposableStack();
  const node = stack.use(new WeirNode({ name: 'hostfw', flags: ['--enable-host-firewall'] }));
  node.manifest('node.yaml', nodeManifest(node.name, 'worker'));
  node.manifest('client.yaml', podManifest('client', { app: 'client' }));
  await node.startAgent();
  const client = stack.use(await Pod.create(node, 'client'));
  const world = stack.use(await Actor.start(node.world));
  const host = stack.use(await Actor.start(node.ns));
  for (const port of [SSH, WEB]) for (const actor of [world, host]) await actor.do({ op: 'serve', port });
  const reach = async (actor: Actor, address: string, port: number, op: 'tcp' | 'udp' = 'tcp'): Promise<string> =>
    await actor.do({ op, host: address, port, timeoutMs: ANSWER_MS });
  const knock = async (actor: Actor, address: string, port: number, op: 'tcp' | 'udp' = 'tcp'): Promise<string> =>
    await actor.do({ op, host: address, port, timeoutMs: SILENCE_MS });
  const [nodeV4, nodeV6] = [NODE_ADDRESSES.v4, NODE_ADDRESSES.v6];
  const [worldV4, worldV6] = [WORLD_ADDRESSES.v4, WORLD_ADDRESSES.v6];

  await t.test('the node is an endpoint with the labels of its object', async () => {
    const { stdout } = await node.weir('endpoint', 'list');
    assert.match(stdout, /reserved:host/);
    assert.match(stdout, /k8s:role=worker/);
    const { stdout: identity } = await node.weir('identity', 'get', '1');
    assert.match(identity, /k8s:role=worker/);
    const { stdout: status } = await node.weir('status');
    assert.doesNotMatch(status, /nodeSelector/);
  });

  await t.test('without a policy everything passes', async () => {
    for (const address of [nodeV4, nodeV6]) assert.equal(await reach(world, address, WEB), 'ok');
    for (const address of [worldV4, worldV6]) assert.equal(await reach(host, address, WEB), 'ok');
  });

  await t.test('ingress: only what is allowed, replies of the node and of the world pass', async () => {
    node.manifest('policy.yaml', SSH_ONLY);
    await waitFor('the denial', async () => (await knock(world, nodeV4, WEB)) === 'timeout');
    for (const address of [nodeV4, nodeV6]) {
      assert.equal(await reach(world, address, SSH), 'ok');
      assert.equal(await knock(world, address, WEB), 'timeout');
      assert.equal(await knock(world, address, WEB, 'udp'), 'timeout');
    }
    for (const address of [worldV4, worldV6]) assert.equal(await reach(host, address, WEB), 'ok');
    for (const address of [nodeV4, nodeV6])
      assert.equal(await knock(client.actor, address, WEB), 'timeout', 'own pods');
    node.manifest('pods.yaml', hostPolicy(PODS_TO_WEB).replace('name: nodes', 'name: pods'));
    await waitFor('the permission', async () => (await reach(client.actor, nodeV4, WEB)) === 'ok');
    assert.equal(await reach(client.actor, nodeV6, WEB), 'ok');
    assert.equal(await knock(client.actor, nodeV4, SSH), 'timeout');
    assert.equal(await knock(world, nodeV4, WEB), 'timeout');
    for (const address of [worldV4, worldV6]) assert.equal(await reach(client.actor, address, WEB), 'ok');
  });

  await t.test('what pods send under the address of the node is not the node’s, and its replies come in', async () => {
    run([...node.ns.enter, 'nft', 'add table ip t; add chain ip t post { type nat hook postrouting priority 100; }; add rule ip t post ip saddr 10.244.0.0/24 oifname eth0 masquerade']); // prettier-ignore
    node.manifest('policy.yaml', `${SSH_ONLY}---\n${NO_WEB_OUT.replace('name: nodes', 'name: out')}`);
    await waitFor('the denial', async () => (await knock(host, worldV4, WEB)) === 'timeout');
    assert.equal(await reach(client.actor, worldV4, WEB), 'ok');
    assert.equal(await reach(host, worldV4, SSH), 'ok');
    assert.equal(await knock(host, worldV6, WEB), 'timeout');
  });

  await t.test('a connection that is no longer allowed stops, and audit mode lets it through', async () => {
    node.manifest('policy.yaml', SSH_ONLY);
    await waitFor('the permission', async () => (await reach(host, worldV4, WEB)) === 'ok');
    const { stdout } = await node.weir('endpoint', 'list', '-o', 'jsonpath={.items[*].id}');
    assert.ok(stdout.includes('65535'), stdout);
    assert.equal((await node.weir('endpoint', 'config', '65535', 'PolicyAuditMode=Enabled')).status, 0);
    assert.equal(await reach(world, nodeV4, WEB), 'ok');
    assert.equal((await node.weir('endpoint', 'config', '65535', 'PolicyAuditMode=Disabled')).status, 0);
    assert.equal(await knock(world, nodeV4, WEB), 'timeout');
  });

  await t.test('a crash of the agent leaves the policy in force, and the next agent takes it over', async () => {
    await node.stopAgent('SIGKILL');
    assert.equal(await knock(world, nodeV4, WEB), 'timeout');
    assert.equal(await reach(world, nodeV4, SSH), 'ok');
    await node.startAgent();
    assert.equal(await knock(world, nodeV4, WEB), 'timeout');
    assert.equal(await reach(world, nodeV4, SSH), 'ok');
  });

  await t.test('a policy on trial that cuts somebody off is taken back, unless it is confirmed', async () => {
    const file = path.join(node.dir, 'trial.yaml');
    writeFileSync(file, SSH_ONLY.replaceAll(String(SSH), '9'));
    const { stdout, status } = await node.weir('policy', 'try', '--for', '3s', file);
    assert.equal(status, 0, stdout);
    assert.match(stdout, /^On trial: CiliumClusterwideNetworkPolicy nodes$/m);
    assert.equal(await knock(world, nodeV4, SSH), 'timeout');
    await waitFor('the way back', async () => (await reach(world, nodeV4, SSH)) === 'ok');
    assert.equal(await knock(world, nodeV4, WEB), 'timeout', 'what was before is in force again');
    assert.notEqual((await node.weir('policy', 'confirm')).status, 0);

    writeFileSync(file, SSH_ONLY.replaceAll(String(SSH), String(WEB)));
    assert.equal((await node.weir('policy', 'try', file)).status, 0);
    assert.equal(await reach(world, nodeV4, WEB), 'ok');
    assert.equal((await node.weir('policy', 'confirm')).status, 0);
    assert.deepEqual([await reach(world, nodeV4, WEB), await knock(world, nodeV4, SSH)], ['ok', 'timeout']);
    node.manifest('policy.yaml', SSH_ONLY.replace('spec:\n', 'spec:\n  description: another version\n'));
    await waitFor('the source', async () => (await reach(world, nodeV4, SSH)) === 'ok');
  });

  await t.test('labels of the node decide which policies it has', async () => {
    node.manifest('node.yaml', nodeManifest(node.name, 'other'));
    await waitFor('the permission', async () => (await reach(world, nodeV4, WEB)) === 'ok');
  });

  await t.test('the node cannot be deleted', async () => {
    await assert.rejects(new ApiClient(node.socket).deleteEndpoint('65535'), /is the node itself/);
    assert.equal((await node.weir('endpoint', 'get', '65535')).status, 0);
  });
});

/** What every node may take in and send: next to nothing. */
const NOTHING = `apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: { name: nodes }
spec:
  nodeSelector: {}
  ingress: [{ fromEntities: [health] }]
  egress: [{ toEntities: [health] }]
`;

test('a node that may do nothing: services, its own pods and the tunnel are judged by the policies of pods', async (t) => {
  await using stack = new AsyncDisposableStack();
  const flags = ['--routing-mode', 'tunnel', '--enable-host-firewall'];
  const cluster = stack.use(await Cluster.start({ nodes: 2, flags }));
  const [one, two] = cluster.members as [Member, Member];
  for (const pod of ['server', 'near', 'far']) cluster.manifest(`${pod}.yaml`, podManifest(pod, { app: pod }));
  const server = stack.use(await Pod.create(one.node, 'server'));
  const near = stack.use(await Pod.create(one.node, 'near'));
  const far = stack.use(await Pod.create(two.node, 'far'));
  const world = stack.use(await Actor.start(cluster.world));
  const hosts = await Promise.all([one, two].map(async ({ node }) => stack.use(await Actor.start(node.ns))));
  const [hostOne, hostTwo] = hosts as [Actor, Actor];
  for (const actor of [server.actor, far.actor, hostOne, hostTwo]) await actor.do({ op: 'serve', port: WEB });
  const nodePort = 30_080;
  const spec = { type: 'NodePort', clusterIPs: ['10.96.0.10', 'fd00:96::10'] };
  const service = { name: 'web', port: 80, targetPort: WEB, nodePort, spec, backends: [backendOf(server)] };
  await cluster.publish();
  cluster.manifest('service.json', serviceManifest(service));
  cluster.manifest('policy.yaml', NOTHING);
  const reach = async (actor: Actor, host: string, port = WEB, timeoutMs = SILENCE_MS): Promise<string> =>
    await actor.do({ op: 'tcp', host, port, timeoutMs });
  const ways = (of: { readonly ipv4: string; readonly ipv6: string }): readonly string[] => [of.ipv4, of.ipv6];
  const all = async (actor: Actor, to: readonly string[], expected: string, port?: number): Promise<void> => {
    const timeoutMs = expected === 'ok' ? ANSWER_MS : SILENCE_MS;
    for (const address of to) assert.equal(await reach(actor, address, port, timeoutMs), expected, address);
  };

  await waitFor('the policy of the nodes', async () => {
    return (await Promise.all(ways(one).map((address) => reach(world, address)))).every((seen) => seen === 'timeout');
  });
  await waitFor('the service', async () => (await reach(world, one.ipv4, nodePort)) === 'ok');

  await t.test('the node itself reaches nobody, and nobody it', async () => {
    await all(world, [...ways(one), ...ways(two)], 'timeout');
    await all(hostOne, ways(two), 'timeout');
    await all(far.actor, ways(one), 'timeout');
  });

  await t.test('a node port leads to its pod, on the node that is asked and on another', async () => {
    await all(world, [...ways(one), ...ways(two)], 'ok', nodePort);
  });

  await t.test('between the node and its own pods', async () => {
    await all(hostOne, ways(server), 'ok');
    await all(near.actor, [...ways(one), ...one.routers], 'timeout');
  });

  await t.test('between nodes and pods through the tunnel', async () => {
    await all(hostOne, ways(far), 'ok');
    await all(near.actor, ways(far), 'ok');
  });

  await t.test('the policy of the pod decides about all of these', async () => {
    cluster.manifest('server.policy.yaml', serverPolicy('far'));
    cluster.manifest('far.policy.yaml', serverPolicy('near').replaceAll('server', 'far'));
    await waitFor('the denial', async () => (await reach(world, one.ipv4, nodePort)) === 'timeout');
    await waitFor('the denial', async () => (await reach(hostOne, far.ipv4)) === 'timeout');
    await all(world, [...ways(one), ...ways(two)], 'timeout', nodePort);
    await all(hostOne, ways(far), 'timeout');
    await all(hostOne, ways(server), 'ok');
    await all(near.actor, ways(server), 'timeout');
    await all(far.actor, ways(server), 'ok');
  });
});
