/** The source and the identities against an API server that speaks real HTTP. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { plainDefinition, plainDefinitions } from '../../../test/fakes/kube-apiserver/plain-definitions.ts';
import type { Json } from '../../../test/fakes/kube-apiserver/object.ts';
import { KubeApiServer } from '../../../test/fakes/kube-apiserver/server.ts';
import { waitFor } from '../../../test/harness/wait.ts';
import { systemClock } from '../../model/clock.ts';
import { canonicalLabels, parseLabel } from '../../model/labels.ts';
import { resourceName, type ResourceEvent } from '../../model/resource.ts';
import { ApiClient, type JsonObject } from './client.ts';
import { Credentials } from './credentials.ts';
import { IdentityObjects } from './identity-objects.ts';
import { KubernetesSource, type KubernetesState } from './source.ts';

const pod = (name: string, labels: Json = {}, node = 'n1'): Json => ({
  ...{ apiVersion: 'v1', kind: 'Pod' },
  metadata: { name, namespace: 'default', labels },
  spec: { nodeName: node, containers: [{ name: 'c', image: 'i' }] },
});
const policy = (name: string, description: string): Json => ({
  ...{ apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy' },
  metadata: { name, namespace: 'default' },
  spec: { description, endpointSelector: {} },
});

/** Follows a server and keeps what it says. */
class Follower {
  readonly known = new Map<string, JsonObject>();
  readonly states: KubernetesState[] = [];
  readonly client: ApiClient;
  readonly source: KubernetesSource;
  synced = false;

  constructor(kubeconfig: string, heartbeatMs?: number) {
    const credentials = Credentials.load({ kubeconfig, servers: [], clock: systemClock });
    this.client = new ApiClient({ credentials, userAgent: 'test', clock: systemClock });
    this.source = new KubernetesSource({
      ...{ server: this.client, clock: systemClock, nodeName: 'n1', endpointSlices: false },
      ...(heartbeatMs !== undefined && { heartbeatMs }),
      onState: (state) => this.states.push(state),
    });
  }

  start(): Promise<void> {
    return this.source.start((event) => this.#take(event));
  }

  names(kind: string): string[] {
    return [...this.known.keys()].filter((name) => name.startsWith(`${kind} `)).sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.source.stop();
    this.client.close();
  }

  #take(event: ResourceEvent): void {
    if (event.type === 'synced') this.synced = true;
    else if (event.type === 'upsert') this.known.set(resourceName(event.resource), event.resource.object);
    else this.known.delete(resourceName(event.resource));
  }
}

describe('following an API server', () => {
  let dir: string;
  let server: KubeApiServer;
  let kubeconfig: string;
  const deletePath = async (path: string): Promise<void> => {
    await using follower = new Follower(kubeconfig);
    await follower.client.request({ method: 'DELETE', path });
  };

  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'weir-k8s-'));
    kubeconfig = join(dir, 'kubeconfig');
    server = await new KubeApiServer({ bookmarkMs: 200 }).start();
    for (const definition of plainDefinitions()) server.apply(definition);
    writeFileSync(kubeconfig, server.kubeconfig());
  });
  after(async () => {
    await server.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  test('what exists comes before synced, what changes after; only pods of this node', async () => {
    server.apply(pod('web', { app: 'web' }));
    server.apply(pod('elsewhere', {}, 'n2'));
    server.apply(policy('p', 'one'));
    await using follower = new Follower(kubeconfig);
    await follower.start();
    assert.ok(follower.synced);
    assert.deepEqual(follower.names('Pod'), ['Pod default/web']);
    assert.deepEqual(follower.names('CiliumNetworkPolicy'), ['CiliumNetworkPolicy default/p']);
    assert.ok(follower.names('Namespace').includes('Namespace default'));
    server.apply(policy('p', 'two'));
    await waitFor(
      'the change',
      () => (follower.known.get('CiliumNetworkPolicy default/p')!['spec'] as Json)['description'] === 'two',
    );
    await deletePath('/apis/cilium.io/v2/namespaces/default/ciliumnetworkpolicies/p');
    await waitFor('the deletion', () => follower.names('CiliumNetworkPolicy').length === 0);
    assert.deepEqual(follower.source.state.failing, new Map());
  });

  test('a kind that is not defined is absent, and followed once it is', async () => {
    const other = await new KubeApiServer().start();
    const definitions = plainDefinitions().filter(
      ({ metadata }) => !String((metadata as Json)['name']).startsWith('ciliumcidr'),
    );
    for (const definition of definitions) other.apply(definition);
    const file = join(dir, 'other');
    writeFileSync(file, other.kubeconfig());
    await using stack = new AsyncDisposableStack();
    stack.defer(() => other.stop());
    const follower = stack.use(new Follower(file));
    await follower.start();
    assert.deepEqual(follower.source.state.absent, ['CiliumCIDRGroup']);
    other.apply(plainDefinition('CiliumCIDRGroup'));
    other.apply({
      ...{ apiVersion: 'cilium.io/v2', kind: 'CiliumCIDRGroup', metadata: { name: 'g' } },
      spec: { externalCIDRs: ['10.0.0.0/8'] },
    });
    await waitFor('the group', () => follower.names('CiliumCIDRGroup').length === 1);
    await waitFor('the kind to be followed', () => follower.source.state.absent.length === 0);
  });

  test('a server that restarts is missed, said so, and caught up with', async () => {
    const first = await new KubeApiServer().start();
    for (const definition of plainDefinitions()) first.apply(definition);
    first.apply(pod('stays'));
    first.apply(pod('goes'));
    const file = join(dir, 'restart');
    writeFileSync(file, first.kubeconfig());
    await using stack = new AsyncDisposableStack();
    let running = first;
    stack.defer(() => running.stop());
    const follower = stack.use(new Follower(file));
    await follower.start();
    const { store, users, certificate, port } = first;
    await first.stop();
    await waitFor('the loss', () => follower.source.state.failing.size > 0);
    assert.deepEqual(follower.names('Pod'), ['Pod default/goes', 'Pod default/stays']);
    const second = new KubeApiServer({ store, users, port, ...(certificate !== undefined && { tls: certificate }) });
    second.apply(pod('comes'));
    running = await second.start();
    await follower.client.request({
      method: 'DELETE',
      path: '/api/v1/namespaces/default/pods/goes',
      query: { gracePeriodSeconds: 0 },
    });
    await waitFor('the change', () => follower.names('Pod').join() === 'Pod default/comes,Pod default/stays');
    await waitFor('all to be well', () => follower.source.state.failing.size === 0);
    assert.equal(follower.source.state.since, undefined);
  });

  test('a network that swallows everything is noticed', async () => {
    await using follower = new Follower(kubeconfig, 100);
    await follower.start();
    const heal = server.faults.add({ action: { kind: 'reset' } });
    try {
      await waitFor('the loss', () => follower.source.state.failing.size > 0);
    } finally {
      heal();
    }
    await waitFor('all to be well', () => follower.source.state.failing.size === 0);
  });

  test('faults of every kind, then quiet: what is known is what there is', async () => {
    await using follower = new Follower(kubeconfig);
    await follower.start();
    let seed = 7;
    const random = (n: number): number => (seed = (seed * 48271) % 2147483647) % n;
    const present = new Set<string>();
    for (let i = 0; i < 300; i++) {
      const name = `f${random(12)}`;
      if (random(3) > 0 || !present.has(name)) {
        server.apply(policy(name, `version ${i}`));
        present.add(name);
      } else {
        await deletePath(`/apis/cilium.io/v2/namespaces/default/ciliumnetworkpolicies/${name}`);
        present.delete(name);
      }
      const match = { resource: 'ciliumnetworkpolicies.cilium.io', verb: ['list', 'watch'] };
      if (random(10) === 0) server.faults.dropWatches({ resource: match.resource }, random(2) === 0);
      if (random(25) === 0) server.compact();
      if (random(25) === 0) server.faults.add({ match, action: { kind: 'reset' }, times: 1 });
      if (random(25) === 0) server.faults.add({ match, action: { kind: 'status', code: 500 }, times: 1 });
      if (random(25) === 0) server.faults.add({ match, action: { kind: 'stale', revisions: 20 }, times: 1 });
    }
    server.faults.clear();
    const expected = [...present].map((name) => `CiliumNetworkPolicy default/${name}`).sort();
    await waitFor(
      'the same',
      () => {
        if (follower.names('CiliumNetworkPolicy').join() !== expected.join()) return false;
        return expected.every((name) => {
          const held = follower.known.get(name)!['spec'] as Json;
          const real = server.get('cilium.io/v2/ciliumnetworkpolicies', name.split('/')[1]!, 'default')![
            'spec'
          ] as Json;
          return held['description'] === real['description'];
        });
      },
      60_000,
    );
  });

  test('two nodes that want the same new identity at the same moment get one, 1,000 times over', async () => {
    await using one = new Follower(kubeconfig);
    await using other = new Follower(kubeconfig);
    const nodes = [one, other].map(({ client }) => new IdentityObjects({ server: client }));
    const path = '/apis/cilium.io/v2/ciliumidentities';
    for (let batch = 0; batch < 40; batch++) {
      await Promise.all(
        Array.from({ length: 25 }, async (_, i) => {
          const labels = canonicalLabels([parseLabel(`k8s:app=web-${batch * 25 + i}`)]);
          const [a, b] = await Promise.all(nodes.map((node) => node.agree(labels)));
          assert.deepEqual(a, b);
        }),
      );
      const { items } = (await one.client.request({ method: 'GET', path })) as { items: Json[] };
      assert.equal(new Set(items.map((item) => JSON.stringify(item['security-labels']))).size, 25);
      assert.equal(items.length, 25);
      for (const { metadata } of items) {
        const { name, annotations = {} } = metadata as { name: string; annotations?: Json };
        assert.deepEqual(annotations, {}, 'all are settled');
        await one.client.request({ method: 'DELETE', path: `${path}/${name}` });
      }
    }
  });
});
