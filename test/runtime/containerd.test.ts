/** A real container runtime starts pods through weir-cni: Debian's containerd and runc, the agent, real connections. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { ApiClient } from '../../agent/api/client.ts';
import { Actor } from '../harness/actor.ts';
import { dist, WeirNode } from '../harness/node.ts';
import { podManifest } from '../harness/pod.ts';
import { uniqueName } from '../harness/run.ts';
import { ANSWER_MS, SILENCE_MS, waitFor } from '../harness/wait.ts';
import { Containerd } from './containerd.ts';
import { MountNamespace } from './mount-namespace.ts';

const POLICY = `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: server, namespace: default }
spec:
  endpointSelector:
    matchLabels: { app: server }
  ingress:
    - fromEndpoints:
        - matchLabels: { app: client }
      toPorts:
        - ports:
            - { port: "8080", protocol: TCP }
`;

const conflist = JSON.parse(readFileSync(path.join(import.meta.dirname, '../../install/05-weir.conflist'), 'utf8')) as {
  plugins: object[];
};

interface Machine {
  readonly node: WeirNode;
  readonly containerd: Containerd;
}

/** A node with its agent, and containerd beside it; the conflist is the one that is installed, pointed at this agent. */
async function machine(stack: AsyncDisposableStack): Promise<Machine> {
  const folder = mkdtempSync(path.join(tmpdir(), `${uniqueName('containerd')}-`));
  stack.defer(() => rmSync(folder, { recursive: true, force: true }));
  const mounts = stack.use(await MountNamespace.create(folder));
  const node = stack.use(new WeirNode({ name: 'runtime', enter: mounts.enter }));
  await node.startAgent();
  const plugins = [path.join(dist, 'weir-cni')];
  const containerd = stack.use(await Containerd.start({ folder, mounts, node: node.ns, plugins }));
  const plugin = { ...conflist.plugins[0], socket: node.socket, timeout: 2 };
  await containerd.configure({ ...conflist, plugins: [plugin] });
  return { node, containerd };
}

/**
 * Maps that are not of pods: connections end by themselves, counters only rise; among them the revisions, slots of an array
 * that must never fall, or connections of an id's former endpoint would pass for the next one's.
 */
const COUNTERS = /_ct|metrics|events|policystats|revision/;

/** Everything that pods leave traces in, sorted: links, pins, endpoints, addresses, map entries. */
async function traces(node: WeirNode): Promise<string[]> {
  const api = new ApiClient(node.socket);
  const [endpoints, ips, { ipam }, { maps = [] }] = await Promise.all([
    api.endpoints(),
    api.ips(),
    api.health(),
    api.maps(),
  ]);
  const names = maps.map((map) => path.basename(map.path ?? '')).filter((name) => !COUNTERS.test(name));
  const dumps = await Promise.all(names.map((name) => api.map(name)));
  return [
    ...node.leftovers(),
    ...endpoints.map(({ id }) => `endpoint ${id}`),
    ...ips.map(({ cidr, identity }) => `ip ${cidr} ${identity}`),
    ...Object.keys(ipam?.allocations ?? {}).map((address) => `allocation ${address}`),
    ...dumps.flatMap(({ cache = [] }, i) => cache.map(({ key }) => `${names[i]!} ${String(key)}`)),
  ].sort();
}

test('containerd starts pods through weir-cni; policy decides who reaches whom; removal leaves nothing', async () => {
  await using stack = new AsyncDisposableStack();
  const { node, containerd } = await machine(stack);
  for (const name of ['server', 'client', 'other']) node.manifest(`${name}.yaml`, podManifest(name, { app: name }));
  node.manifest('policy.yaml', POLICY);
  const before = await traces(node);

  const ids = new Map<string, string>();
  const actors = new Map<string, Actor>();
  for (const name of ['server', 'client', 'other']) {
    const id = await containerd.runPod(name);
    ids.set(name, id);
    actors.set(name, stack.use(await Actor.start({ enter: await containerd.enterPod(id) })));
  }
  const { ips } = await containerd.cri.podSandbox(ids.get('server')!);
  assert.match(ips.join(' '), /^10\.244\.0\.\d+ fd00:10:244::[0-9a-f:]+$/);
  for (const port of [8080, 9090]) await actors.get('server')!.do({ op: 'serve', port });
  const reach = (from: string, host: string, port: number): Promise<string> =>
    actors.get(from)!.do({ op: 'tcp', host, port, timeoutMs: ANSWER_MS });
  const knock = (from: string, host: string, port: number): Promise<string> =>
    actors.get(from)!.do({ op: 'tcp', host, port, timeoutMs: SILENCE_MS });
  for (const host of ips) {
    assert.equal(await reach('client', host, 8080), 'ok', host);
    assert.equal(await knock('client', host, 9090), 'timeout', host);
    assert.equal(await knock('other', host, 8080), 'timeout', host);
  }

  for (const actor of actors.values()) await actor[Symbol.asyncDispose]();
  for (const id of ids.values()) await containerd.removePod(id);
  assert.deepEqual(await traces(node), before);
});

test('while the agent is away pods fail to start and say why, and deletes wait for it', async () => {
  await using stack = new AsyncDisposableStack();
  const { node, containerd } = await machine(stack);
  const before = await traces(node);
  const stays = await containerd.runPod('stays');
  const withOne = await traces(node);
  const goes = await containerd.runPod('goes');
  assert.ok((await traces(node)).length > withOne.length);

  await node.stopAgent('SIGKILL');
  await assert.rejects(containerd.runPod('late'), /cannot reach weir-agent at .*weir\.sock/);
  await containerd.removePod(goes);
  const queue = path.join(node.dir, 'deleteQueue');
  assert.ok(readdirSync(queue).length > 0);

  await node.startAgent();
  await waitFor('the queue to be done', () => readdirSync(queue).length === 0);
  await waitFor('the deleted pod to be gone', async () => (await traces(node)).length <= withOne.length);
  assert.deepEqual(await traces(node), withOne);
  await containerd.removePod(stays);
  assert.deepEqual(await traces(node), before);
});
