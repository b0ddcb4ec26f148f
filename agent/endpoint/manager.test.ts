import assert from 'node:assert/strict';
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { formatAddress, parseAddress } from '../model/address.ts';
import { WeirError } from '../model/errors.ts';
import { formatLabel, parseLabel } from '../model/labels.ts';
import { decodePolicy } from '../policy/api/index.ts';
import type { CreateRequest } from './create.ts';
import type { Endpoint } from './endpoint.ts';
import { openBench, toMap, type Bench } from './testing.ts';

const request = (name: string, more: Partial<CreateRequest> = {}): CreateRequest => ({
  attachment: {
    containerId: `container-${name}`,
    containerIfName: 'eth0',
    netns: `/run/netns/${name}`,
    namespace: 'default',
    podName: name,
  },
  ...more,
});

/** Everything that an endpoint may leave behind. */
function inventory({ datapath, ipam, ipcache, manager, stateDir }: Bench): Record<string, unknown> {
  return {
    endpoints: manager.index.list().map(({ id }) => id),
    links: [...datapath.links.keys()],
    installed: [...datapath.installed.keys()],
    addresses: [ipam.ipv4?.used, ipam.ipv6?.used],
    ipcache: ipcache.size,
    files: readdirSync(stateDir, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.includes('endpoints/'))
      .sort(),
  };
}

const states = (endpoint: Endpoint): string[] => {
  const all = endpoint.log
    .entries()
    .map(({ state }) => state as string)
    .reverse();
  return all.filter((state, i) => state !== all[i - 1]);
};

/** Only `client` may call `server`. */
function allowClient(bench: Bench, client: string): void {
  const decoded = decodePolicy({
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumNetworkPolicy',
    metadata: { name: 'server', namespace: 'default' },
    spec: {
      endpointSelector: { matchLabels: { app: 'server' } },
      ingress: [{ fromEndpoints: [{ matchLabels: { app: client } }] }],
    },
  });
  assert.ok(decoded.rules, JSON.stringify(decoded.errors));
  bench.engine.apply({ policies: [{ key: 'server', rules: decoded.rules }] });
  for (const _ of bench.engine.refresh());
}

const pod = (bench: Bench, name: string, labels: Record<string, string>): void =>
  bench.pods.setPod('default', name, { labels, serviceAccount: 'default', namedPorts: [] });

describe('endpoints', () => {
  let bench: Bench;
  beforeEach(async () => {
    bench = await openBench();
    await bench.manager.activate();
  });
  afterEach(() => bench[Symbol.dispose]());

  /** The kernel enforces exactly what the engine says. */
  const assertEnforced = (endpoint: Endpoint): void => {
    const { program, policy } = bench.datapath.installed.get(endpoint.id)!;
    assert.equal(program.identity, endpoint.identity?.id);
    assert.deepEqual(policy, toMap(endpoint.policy!.mapState));
  };

  test('ADD goes through the states and answers when the pod is enforced', async () => {
    pod(bench, 'web', { app: 'web', 'pod-template-hash': 'x' });
    const endpoint = await bench.manager.create(request('web'));
    assert.deepEqual(states(endpoint), ['waiting-for-identity', 'waiting-to-regenerate', 'regenerating', 'ready']);
    assert.deepEqual(endpoint.addresses.map(formatAddress), ['10.0.0.2', 'fd00::2']);
    assert.equal(endpoint.identity?.id, 256);
    assert.deepEqual(endpoint.labels.information.map(formatLabel), ['k8s:pod-template-hash=x']);
    assertEnforced(endpoint);
    const { request: link } = bench.datapath.links.get(endpoint.link!.hostIfName)!;
    assert.deepEqual([link.gateways.map(formatAddress), link.mtu], [['10.0.0.1', 'fd00::1'], 1500]);
    assert.equal(bench.ipcache.lookup(parseAddress('fd00::2'))?.identity, 256);
    assert.deepEqual(inventory(bench)['files'], [`endpoints/${endpoint.id}.json`]);
    assert.equal(bench.manager.index.find('cni-attachment-id:container-web:eth0'), endpoint);
    assert.equal(bench.manager.index.find('pod-name:default/web'), endpoint);
    assert.throws(() => bench.manager.index.find('pod-name:default/db'), { code: 'ENDPOINT_NOT_FOUND' });
    assert.throws(() => bench.manager.index.find('what:ever'), { code: 'REQUEST_INVALID' });
  });

  test('DEL leaves nothing, and a second one finds nothing', async () => {
    const before = inventory(bench);
    const endpoint = await bench.manager.create(request('web'));
    await Promise.all([bench.manager.remove(endpoint), bench.manager.remove(endpoint)]);
    assert.deepEqual(inventory(bench), before);
    assert.equal(endpoint.state, 'disconnected');
  });

  for (const operation of ['createLink', 'install'] as const) {
    test(`an ADD that fails at ${operation} leaves nothing`, async () => {
      const before = inventory(bench);
      bench.datapath.failing.set(operation, new WeirError('NETNS_NOT_FOUND', 'no such namespace'));
      await assert.rejects(bench.manager.create(request('web')), { code: 'NETNS_NOT_FOUND' });
      assert.deepEqual(inventory(bench), before);
      bench.datapath.failing.clear();
      await bench.manager.create(request('web'));
    });
  }

  test('an ADD that cannot be remembered leaves nothing', async () => {
    const before = inventory(bench);
    writeFileSync(join(bench.stateDir, 'endpoints'), 'a file where the directory should be');
    await assert.rejects(bench.manager.create(request('web')), { code: 'STATE_WRITE_FAILED' });
    rmSync(join(bench.stateDir, 'endpoints'));
    assert.deepEqual(inventory(bench), before);
  });

  test('an exhausted range is said to be, and serves again after a DEL', async () => {
    const all: Endpoint[] = [];
    for (let i = 0; i < 5; i++) all.push(await bench.manager.create(request(`p${i}`)));
    const before = inventory(bench);
    await assert.rejects(bench.manager.create(request('late')), { code: 'IPAM_EXHAUSTED', message: /10\.0\.0\.0\/29/ });
    assert.deepEqual(inventory(bench), before);
    await bench.manager.remove(all[3]!);
    const late = await bench.manager.create(request('late'));
    assert.deepEqual(late.addressing.ipv4, all[3]!.addressing.ipv4);
  });

  test('a DEL takes away what the ADDs asked for before it make, also while one replaces another', async () => {
    const before = inventory(bench);
    const first = await bench.manager.create(request('web'));
    const second = bench.manager.create(request('web'));
    const removed = bench.manager.removeAt(first.key);
    await second;
    assert.equal(await removed, true);
    assert.deepEqual(inventory(bench), before);
    assert.equal(await bench.manager.removeAt(first.key), false);
  });

  test('a second ADD of an attachment replaces the first, also at the same time', async () => {
    const [first, second] = await Promise.all([
      bench.manager.create(request('web')),
      bench.manager.create(request('web')),
    ]);
    assert.equal(first.state, 'disconnected');
    assert.deepEqual(bench.manager.index.list(), [second]);
    assert.equal(bench.datapath.links.size, 1);
    assert.equal(bench.ipam.ipv4?.used, 1);
  });

  test('an address that the caller chose must be free, or its own', async () => {
    const addressing = { ipv4: parseAddress('10.0.0.4') };
    bench.ipam.allocate(addressing.ipv4, 'asked for before');
    const endpoint = await bench.manager.create(request('web', { addressing }));
    assert.deepEqual(endpoint.addresses.map(formatAddress), ['10.0.0.4']);
    await assert.rejects(bench.manager.create(request('db', { addressing })), { code: 'IPAM_IN_USE', message: /web/ });
    await bench.manager.remove(endpoint);
    assert.equal(bench.ipam.ipv4?.used, 0);
  });

  test('what the kernel does not let go stays, and can be removed again', async () => {
    const before = inventory(bench);
    const endpoint = await bench.manager.create(request('web'));
    bench.datapath.failing.set('deleteLink', new WeirError('NETLINK_FAILED', 'busy'));
    await assert.rejects(bench.manager.remove(endpoint), { code: 'NETLINK_FAILED' });
    assert.equal(endpoint.state, 'disconnecting');
    assert.equal(bench.ipam.ipv4?.used, 1, 'nobody else gets its address');
    bench.datapath.failing.clear();
    await bench.manager.remove(endpoint);
    assert.deepEqual(inventory(bench), before);
  });

  test('policy changes reach the kernel as increments', async () => {
    pod(bench, 'server', { app: 'server' });
    pod(bench, 'client', { app: 'client' });
    const server = await bench.manager.create(request('server'));
    const client = await bench.manager.create(request('client'));
    bench.datapath.calls.length = 0;
    allowClient(bench, 'client');
    await bench.manager.idle();
    assertEnforced(server);
    assert.ok(server.policy?.enforced.ingress);
    assert.equal(server.policy.mapState.lookup('ingress', client.identity!.id, 6, 80).verdict, 'allow');
    assert.deepEqual(bench.datapath.calls, [`updatePolicy ${server.id}`]);
    assert.equal(server.state, 'ready');
  });

  test('a new pod is met only by policies that know it', async () => {
    pod(bench, 'server', { app: 'server' });
    allowClient(bench, 'client');
    const server = await bench.manager.create(request('server'));
    pod(bench, 'client', { app: 'client' });
    const { promise: released, resolve: release } = Promise.withResolvers<undefined>();
    bench.datapath.held.set('updatePolicy', released);
    const address = parseAddress('10.0.0.3');
    const creation = bench.manager.create(request('client'));
    const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
    const patience = Date.now() + 30_000;
    while (bench.datapath.installed.size < 2 && Date.now() < patience) await turn();
    assert.equal(bench.datapath.installed.size, 2, 'its own programs are in place');
    for (let i = 0; i < 50; i++) await turn();
    const early = bench.ipcache.lookup(address);
    bench.datapath.held.clear();
    release(undefined);
    const client = await creation;
    assert.equal(early, undefined, 'the policy of the server did not know it yet');
    assert.equal(bench.ipcache.lookup(address)?.identity, client.identity?.id);
    assertEnforced(server);
  });

  test('a change of labels changes the identity, and gives the old one back', async () => {
    pod(bench, 'web', { app: 'web' });
    const endpoint = await bench.manager.create(request('web'));
    const old = endpoint.identity!;
    pod(bench, 'web', { app: 'other' });
    await bench.manager.idle();
    assert.notEqual(endpoint.identity?.id, old.id);
    assertEnforced(endpoint);
    assert.equal(bench.ipcache.lookup(endpoint.addressing.ipv4!)?.identity, endpoint.identity?.id);
    assert.equal(bench.environment.identities.references(old.id), 0);
    assert.equal(bench.environment.identities.references(endpoint.identity!.id), 1);
    await bench.manager.setUserLabels(endpoint, [parseLabel('k8s:extra=1')]);
    assert.match(endpoint.labels.identity.map(formatLabel).join(), /k8s:extra=1/);
    assertEnforced(endpoint);
  });

  test('labels come from the Pod, else from the request, else they are init', async () => {
    const named = await bench.manager.create(request('a', { labels: [parseLabel('k8s:app=a')] }));
    assert.deepEqual(named.labels.identity.map(formatLabel), [
      'k8s:app=a',
      'k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name=default',
      'k8s:io.cilium.k8s.policy.cluster=default',
      'k8s:io.kubernetes.pod.namespace=default',
    ]);
    const anonymous = await bench.manager.create({
      attachment: { ...request('b').attachment, namespace: '', podName: '' },
    });
    assert.equal(anonymous.identity?.id, 5);
    assert.deepEqual(anonymous.policy?.enforced, { ingress: true, egress: true });
    pod(bench, 'a', { app: 'pod' });
    await bench.manager.idle();
    assert.equal(named.labels.origin, 'pod');
    bench.pods.setPod('default', 'a', undefined);
    await bench.manager.idle();
    assert.match(named.labels.identity.map(formatLabel).join(), /k8s:app=pod/, 'objects go before their containers do');
  });

  test('what cannot be brought up to date keeps what it has, says so, and is tried again', async () => {
    pod(bench, 'server', { app: 'server' });
    const server = await bench.manager.create(request('server'));
    const before = new Map(bench.datapath.installed.get(server.id)!.policy);
    bench.datapath.failing.set('updatePolicy', new WeirError('BPF_MAP_FULL', 'no room'));
    bench.datapath.failing.set('replacePolicy', new WeirError('BPF_MAP_FULL', 'no room'));
    allowClient(bench, 'client');
    await bench.manager.idle();
    assert.equal(server.state, 'not-ready');
    assert.match(server.log.last!.message, /no room/);
    assert.equal(server.log.last!.code, 'failed');
    assert.deepEqual(bench.datapath.installed.get(server.id)!.policy, before);
    assert.equal(bench.reports.length, 1);
    bench.datapath.failing.clear();
    await bench.clock.advance(200);
    await bench.manager.idle();
    assert.equal(server.state, 'ready');
    assertEnforced(server);
  });

  test('a switch of the audit mode loads the programs again', async () => {
    const endpoint = await bench.manager.create(request('web'));
    await bench.manager.setOptions(endpoint, { auditMode: true });
    assert.equal(bench.datapath.installed.get(endpoint.id)?.program.auditMode, true);
    bench.datapath.calls.length = 0;
    await Promise.all([1, 2, 3].map(() => bench.manager.regenerate(endpoint, 'because')));
    assert.deepEqual(bench.datapath.calls, [`install ${endpoint.id}`], 'one regeneration serves all who wait');
  });
});

describe('a restart', () => {
  let bench: Bench;
  let endpoints: Endpoint[];
  beforeEach(async () => {
    bench = await openBench();
    await bench.manager.activate();
    for (const name of ['server', 'client']) pod(bench, name, { app: name });
    endpoints = [];
    for (const name of ['server', 'client']) endpoints.push(await bench.manager.create(request(name)));
    bench.datapath.calls.length = 0;
  });
  afterEach(() => bench[Symbol.dispose]());

  test('takes endpoints up without touching them until policies are known, then replaces their programs', async () => {
    const next = await bench.restart();
    const report = await next.manager.restore();
    assert.deepEqual(report.problems, []);
    assert.deepEqual(
      next.manager.index.list().map(({ id, state, identity }) => [id, state, identity?.id]),
      endpoints.map(({ id, identity }) => [id, 'restoring', identity?.id]),
    );
    assert.deepEqual(
      next.datapath.calls.filter((call) => !call.startsWith('linkStatus')),
      [],
    );
    assert.equal(next.ipam.ipv4?.used, 2);
    allowClient(next, 'client');
    await next.manager.activate();
    const [server] = next.manager.index.list();
    assert.equal(server?.state, 'ready');
    assert.deepEqual(next.datapath.installed.get(server.id)!.policy, toMap(server.policy!.mapState));
    assert.equal(next.environment.identities.references(server.identity!.id), 1);
    assert.deepEqual(next.datapath.calls.filter((call) => !call.startsWith('linkStatus')).sort(), [
      `install ${endpoints[0]!.id}`,
      `install ${endpoints[1]!.id}`,
      `prune ${endpoints[0]!.id} ${endpoints[1]!.id}`,
    ]);
    await next.manager.remove(server);
  });

  test('sets a damaged file aside, keeps its numbers out of use, and restores the others', async () => {
    const [server, client] = endpoints as [Endpoint, Endpoint];
    const file = join(bench.stateDir, 'endpoints', `${client.id}.json`);
    writeFileSync(file, '{"id": 17, "trunc');
    const next = await bench.restart();
    const report = await next.manager.restore();
    assert.deepEqual(
      report.problems.map(({ code, object }) => [code, object]),
      [['STATE_CORRUPT', file]],
    );
    assert.deepEqual(
      next.manager.index.list().map(({ id }) => id),
      [server.id],
    );
    await next.manager.activate();
    assert.deepEqual([...next.datapath.installed.keys()], [server.id]);
    assert.notEqual(next.manager.index.nextId(), client.id);
    assert.match(readdirSync(join(bench.stateDir, 'endpoints')).join(), /\.json\.corrupt-/);
  });

  test('forgets endpoints whose link is gone', async () => {
    const [server] = endpoints as [Endpoint];
    bench.datapath.links.delete(server.link!.hostIfName);
    const next = await bench.restart();
    const report = await next.manager.restore();
    assert.deepEqual(report.stale, [server.id]);
    assert.equal(next.ipam.ownerOf(server.addressing.ipv4!), undefined);
    await next.manager.activate();
    assert.ok(!next.datapath.installed.has(server.id));
  });

  test('gives nobody the identity that a restored endpoint has, though the file of identities is lost', async () => {
    const [server] = endpoints as [Endpoint];
    writeFileSync(join(bench.stateDir, 'identities.json'), 'not json');
    const next = await bench.restart();
    await next.manager.restore();
    assert.equal(next.manager.index.byId(server.id)?.identity?.id, server.identity?.id);
    await next.manager.activate();
    const other = await next.manager.create(request('other', { labels: [parseLabel('k8s:app=other')] }));
    assert.ok(endpoints.every(({ identity }) => identity?.id !== other.identity?.id));
  });

  test('keeps labels and options of pods that are no longer told of', async () => {
    await bench.manager.setUserLabels(endpoints[0]!, [parseLabel('k8s:extra=1')]);
    await bench.manager.setOptions(endpoints[0]!, { auditMode: true });
    const next = await bench.restart();
    await next.manager.restore();
    await next.manager.activate();
    const server = next.manager.index.byId(endpoints[0]!.id)!;
    assert.deepEqual(server.labels.identity, endpoints[0]!.labels.identity);
    assert.equal(server.identity?.id, endpoints[0]!.identity?.id);
    assert.equal(next.datapath.installed.get(server.id)?.program.auditMode, true);
  });
});
