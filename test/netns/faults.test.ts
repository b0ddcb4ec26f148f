/** Bad input and faults: each a clear error, and nothing left behind. */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { run, type Output } from '../harness/exec.ts';
import { Netns } from '../harness/netns.ts';
import { WeirNode } from '../harness/node.ts';
import { cni, Pod } from '../harness/pod.ts';
import { ANSWER_MS, waitFor } from '../harness/wait.ts';

interface CniError {
  readonly code: number;
  readonly msg: string;
  readonly details: string;
}

async function failedAdd(node: WeirNode, containerId: string, netns: string): Promise<CniError> {
  const { stdout, status } = await cni(node, 'ADD', { containerId, netns });
  assert.notEqual(status, 0, `ADD succeeded: ${stdout}`);
  return JSON.parse(stdout) as CniError;
}

/** Endpoints, addresses in use and host links of a node. */
async function inventory(node: WeirNode): Promise<{ endpoints: number; links: string[]; pins: number }> {
  const { stdout } = await node.weir('endpoint', 'list', '-o', 'json');
  const left = node.leftovers();
  return {
    endpoints: (JSON.parse(stdout) as unknown[]).length,
    links: left.filter((name) => name.startsWith('wr')),
    pins: left.filter((name) => name.startsWith('/')).length,
  };
}

/** Pins of what holds endpoints' programs on their interfaces. */
function endpointLinks(node: WeirNode): readonly string[] {
  return node.leftovers().filter((name) => /\/links\/(?!node\b)/.test(name));
}

test('ADD into a namespace that does not exist', async () => {
  await using node = new WeirNode({ name: 'nonetns' });
  await node.startAgent();
  const before = await inventory(node);
  const error = await failedAdd(node, 'c1', '/run/netns/weirt-not-there');
  assert.match(error.msg + error.details, /weirt-not-there/);
  assert.deepEqual(await inventory(node), before);
});

test('a second ADD of the same attachment replaces the first and leaves one endpoint', async () => {
  await using stack = new AsyncDisposableStack();
  const node = stack.use(new WeirNode({ name: 'duplicate' }));
  await node.startAgent();
  const pod = stack.use(await Pod.create(node, 'twice'));
  await pod.add();
  const { endpoints, links } = await inventory(node);
  assert.equal(endpoints, 1);
  assert.equal(links.length, 1);
  assert.equal(await pod.actor.do({ op: 'icmp', host: '192.0.2.1', timeoutMs: ANSWER_MS }), 'ok');
});

test('an exhausted pod CIDR is said to be exhausted, and an address that is freed serves again', async () => {
  await using stack = new AsyncDisposableStack();
  const node = stack.use(new WeirNode({ name: 'exhausted', podCidrs: ['10.9.9.0/29', 'fd00:9::/64'] }));
  await node.startAgent();
  const pods: Pod[] = [];
  let error: CniError | undefined;
  for (let i = 0; i < 8 && error === undefined; i++) {
    const pod = new Pod(node, `p${i}`);
    stack.defer(() => pod[Symbol.asyncDispose]());
    // The links of those before are pinned a moment after their ADDs were answered.
    await waitFor('links to settle', () => endpointLinks(node).length === 2 * pods.length);
    const before = await inventory(node);
    const { stdout, status } = await pod.cni('ADD');
    if (status === 0) pods.push(pod);
    else {
      error = JSON.parse(stdout) as CniError;
      assert.deepEqual(await inventory(node), before);
    }
  }
  assert.ok(pods.length >= 5, `only ${pods.length} addresses of a /29 served`);
  assert.match(error!.msg + error!.details, /10\.9\.9\.0\/29/);
  await pods[0]!.cni('DEL');
  const late = new Pod(node, 'late');
  stack.defer(() => late[Symbol.asyncDispose]());
  assert.equal((await late.cni('ADD')).status, 0);
});

test('a full disk for state fails the ADD and leaves nothing', async () => {
  await using node = new WeirNode({ name: 'fulldisk' });
  const state = path.join(node.dir, 'state');
  mkdirSync(state);
  run(['mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', state]);
  try {
    using ns = new Netns('pod');
    await node.startAgent();
    const before = await inventory(node);
    const free = Number(run(['df', '--output=avail', '-B1', state]).split('\n')[1]);
    writeFileSync(path.join(state, 'ballast'), Buffer.alloc(free));
    const error = await failedAdd(node, 'c1', ns.path);
    assert.match(error.msg + error.details, /state|space/i);
    assert.deepEqual(await inventory(node), before);
    await node.stopAgent();
  } finally {
    run(['umount', '-l', state]);
  }
});

test('a corrupt state file is set aside and named, and the other endpoints are restored', async () => {
  await using stack = new AsyncDisposableStack();
  const node = stack.use(new WeirNode({ name: 'corrupt' }));
  await node.startAgent();
  const good = stack.use(await Pod.create(node, 'good'));
  const bad = stack.use(await Pod.create(node, 'bad'));
  const { stdout } = await node.weir('endpoint', 'list', '-o', 'json');
  const endpoints = JSON.parse(stdout) as {
    id: number;
    status: { 'external-identifiers': { 'container-id': string } };
  }[];
  const victim = endpoints.find((e) => e.status['external-identifiers']['container-id'] === bad.containerId)!;
  await node.stopAgent('SIGKILL');
  const folder = path.join(node.dir, 'state');
  const file = readdirSync(folder, { recursive: true, encoding: 'utf8' }).find((name) =>
    new RegExp(`(^|/)endpoints?/(.*/)?${victim.id}\\.json$`).test(name),
  );
  assert.ok(file !== undefined, `no state file of endpoint ${victim.id}`);
  writeFileSync(path.join(folder, file), '{"id": 17, "trunc');
  await node.startAgent();
  assert.match(node.logTail(200), /STATE_CORRUPT/);
  assert.equal(await good.actor.do({ op: 'icmp', host: '192.0.2.1', timeoutMs: ANSWER_MS }), 'ok');
  assert.equal((await bad.cni('DEL')).status, 0);
});

test('an agent that is not there: ADD says so, DEL is queued and done when it comes back', async () => {
  await using stack = new AsyncDisposableStack();
  const node = stack.use(new WeirNode({ name: 'absent' }));
  await node.startAgent();
  const pod = stack.use(await Pod.create(node, 'gone'));
  await node.stopAgent('SIGKILL');
  using ns = new Netns('pod');
  const { stdout } = await cni(node, 'ADD', { containerId: 'c2', netns: ns.path }, { timeout: 1 });
  const error = JSON.parse(stdout) as CniError;
  assert.equal(error.code, 11, 'try again later');
  assert.equal((await pod.cni('DEL')).status, 0);
  await node.startAgent();
  assert.deepEqual((await inventory(node)).endpoints, 0);
});

/** Starts an ADD and kills the agent when it has made the link and not yet answered. */
async function killInMidAdd(node: WeirNode, ns: Netns, timeout: number): Promise<{ readonly add: Promise<Output> }> {
  const before = hostLinks(node);
  const add = cni(node, 'ADD', { containerId: ns.name, netns: ns.path }, { timeout });
  while (hostLinks(node) === before) await new Promise((resolve) => setImmediate(resolve));
  await node.stopAgent('SIGKILL');
  return { add };
}

/** Number of links in the agent's namespace, read without a process: the moment is short. */
function hostLinks(node: WeirNode): number {
  const devices = readFileSync(`/proc/${node.agentPid!}/net/dev`, 'utf8');
  return devices.split('\n').filter((line) => line.trimStart().startsWith('wr')).length;
}

test('an agent killed in mid-ADD: the ADD fails, and nothing of it is left when the agent is back', async () => {
  await using node = new WeirNode({ name: 'midadd' });
  using ns = new Netns('pod');
  await node.startAgent();
  const before = await inventory(node);
  const { add } = await killInMidAdd(node, ns, 1);
  const { status, stdout } = await add;
  assert.equal(status, 1, stdout);
  assert.equal((JSON.parse(stdout) as CniError).code, 11, 'try again later');
  await node.startAgent();
  await waitFor('the queue to be done', () => readdirSync(path.join(node.dir, 'deleteQueue')).length === 0);
  assert.deepEqual(await inventory(node), before);
  assert.doesNotMatch(run(['ip', '-n', ns.name, '-br', 'link']), /eth0/);
});

test('an agent killed in mid-ADD that is back in time: the same ADD succeeds, with one endpoint', async () => {
  await using node = new WeirNode({ name: 'midadd2' });
  using ns = new Netns('pod');
  await node.startAgent();
  const before = await inventory(node);
  const { add } = await killInMidAdd(node, ns, 30);
  await node.startAgent();
  const { status, stdout } = await add;
  assert.equal(status, 0, stdout);
  const { endpoints, links } = await inventory(node);
  assert.deepEqual([endpoints, links.length], [1, 1]);
  assert.equal((await cni(node, 'DEL', { containerId: ns.name, netns: '' })).status, 0);
  assert.deepEqual(await inventory(node), before);
});

test('malformed configuration and environment are refused by name', async () => {
  await using node = new WeirNode({ name: 'badinput' });
  const wrong = await cni(node, 'ADD', { containerId: '../etc', netns: '/run/netns/x' });
  assert.equal((JSON.parse(wrong.stdout) as CniError).code, 4);
  const unknownVersion = await cni(node, 'ADD', { containerId: 'c', netns: '/run/netns/x' }, { cniVersion: '9.9.9' });
  assert.equal((JSON.parse(unknownVersion.stdout) as CniError).code, 1);
});
