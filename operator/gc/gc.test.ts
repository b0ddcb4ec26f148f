import assert from 'node:assert/strict';
import { after, beforeEach, afterEach, describe, test } from 'node:test';
import { KubeApiServer } from '../../test/fakes/kube-apiserver/server.ts';
import type { ApiClient } from '../../agent/k8s/apiserver/client.ts';
import { ManualClock } from '../../agent/model/manual-clock.ts';
import { clientOf, contextOf, defineKinds } from '../testing.ts';
import { EndpointGc } from './endpoints.ts';
import { IdentityGc, UNUSED_SINCE } from './identities.ts';
import { NodeGc } from './nodes.ts';

const MINUTE = 60_000;
const IDENTITIES = 'cilium.io/v2/ciliumidentities';
const ENDPOINTS = 'cilium.io/v2/ciliumendpoints';
const never = new AbortController().signal;

describe('garbage collection', () => {
  let cluster: KubeApiServer;
  let server: ApiClient;
  let clock: ManualClock;
  const clients: ApiClient[] = [];
  beforeEach(async () => {
    cluster = await new KubeApiServer({ tls: false }).start();
    defineKinds(cluster);
    server = clientOf(cluster);
    clients.push(server);
    clock = new ManualClock(Date.now());
  });
  afterEach(() => cluster.stop());
  after(() => clients.forEach((client) => client.close()));

  const identity = (id: number, annotations: Record<string, string> = {}): void => {
    const metadata = { name: String(id), annotations };
    cluster.apply({
      apiVersion: 'cilium.io/v2',
      kind: 'CiliumIdentity',
      metadata,
      'security-labels': { 'k8s:app': `a${id}` },
    });
  };
  const endpoint = (name: string, id: number, owner?: string): void => {
    const ownerReferences = owner === undefined ? [] : [{ apiVersion: 'v1', kind: 'Pod', name, uid: owner }];
    cluster.apply({ apiVersion: 'cilium.io/v2', kind: 'CiliumEndpoint', metadata: { name, ownerReferences } });
    const networking = { addressing: [{ ipv4: '10.0.0.1' }] };
    cluster.apply({
      apiVersion: 'cilium.io/v2',
      kind: 'CiliumEndpoint',
      metadata: { name, ownerReferences },
      status: { id: 1, identity: { id }, networking },
    });
    const object = cluster.get(ENDPOINTS, name, 'default')!;
    cluster.applyStatus({ ...object, status: { id: 1, identity: { id }, networking } });
  };
  const mark = (id: number): string | undefined =>
    cluster.get(IDENTITIES, String(id))?.metadata.annotations?.[UNUSED_SINCE];
  const identities = (): IdentityGc =>
    new IdentityGc(contextOf(server, clock), {
      intervalMs: 15 * MINUTE,
      heartbeatTimeoutMs: 30 * MINUTE,
      mostPerRound: 10,
    });

  test('an unused identity is marked, and deleted when that is long ago', async () => {
    identity(1000);
    identity(1001);
    endpoint('p', 1001);
    const gc = identities();
    await gc.round(never);
    assert.notEqual(mark(1000), undefined);
    assert.equal(mark(1001), undefined);
    await clock.advance(15 * MINUTE);
    await gc.round(never);
    assert.ok(cluster.get(IDENTITIES, '1000'), 'too early');
    await clock.advance(15 * MINUTE);
    await gc.round(never);
    assert.equal(cluster.get(IDENTITIES, '1000'), undefined);
    assert.ok(cluster.get(IDENTITIES, '1001'));
  });

  test('a mark taken away between the look and the deletion saves the identity', async () => {
    identity(1000);
    const gc = identities();
    await gc.round(never);
    await clock.advance(31 * MINUTE);
    // A node comes to use it while the operator has listed the identities, and lists endpoints.
    const seen = new Promise<void>((resolve) => {
      const racing: ApiClient = Object.create(server, {
        request: {
          value: async (request: Parameters<ApiClient['request']>[0]) => {
            if (request.path.endsWith('ciliumendpoints')) {
              await server.request({
                method: 'PATCH',
                path: '/apis/cilium.io/v2/ciliumidentities/1000',
                body: { metadata: { annotations: { [UNUSED_SINCE]: null } } },
                contentType: 'application/merge-patch+json',
              });
              resolve();
            }
            return await server.request(request);
          },
        },
      }) as ApiClient;
      void new IdentityGc(contextOf(racing, clock), {
        intervalMs: MINUTE,
        heartbeatTimeoutMs: 30 * MINUTE,
        mostPerRound: 10,
      }).round(never);
    });
    await seen;
    await gc.round(never);
    assert.ok(cluster.get(IDENTITIES, '1000'));
  });

  test('an endpoint that turns up takes the mark away', async () => {
    identity(1000);
    const gc = identities();
    await gc.round(never);
    endpoint('late', 1000);
    await clock.advance(31 * MINUTE);
    await gc.round(never);
    assert.equal(mark(1000), undefined);
    assert.ok(cluster.get(IDENTITIES, '1000'));
  });

  test('an identity in a slice only is in use; one that just ceased to be waits for its time', async () => {
    identity(1000);
    const slice = {
      apiVersion: 'cilium.io/v2alpha1',
      kind: 'CiliumEndpointSlice',
      metadata: { name: 's' },
      namespace: 'default',
    };
    cluster.apply({ ...slice, endpoints: [{ name: 'p', id: 1000 }] });
    const gc = identities();
    await gc.round(never);
    cluster.apply({ ...slice, endpoints: [] });
    await clock.advance(15 * MINUTE);
    await gc.round(never);
    assert.equal(mark(1000), undefined);
    await clock.advance(16 * MINUTE);
    await gc.round(never);
    assert.notEqual(mark(1000), undefined);
  });

  test('no more than so many deletions a round; a mark from the future is none', async () => {
    const old = new Date(clock.now() - 60 * MINUTE).toISOString();
    for (let id = 2000; id < 2015; id++) identity(id, { [UNUSED_SINCE]: old });
    identity(3000, { [UNUSED_SINCE]: new Date(clock.now() + 60 * MINUTE).toISOString() });
    await identities().round(never);
    const left = [...cluster.store.collection('cilium.io/ciliumidentities').values()].map(
      ({ metadata }) => metadata.name,
    );
    assert.equal(left.length, 6);
    assert.ok(left.includes('3000'));
  });

  test('endpoints whose pod is gone, has ended, or is another of the same name', async () => {
    const pod = (name: string): string =>
      cluster.apply({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name },
        spec: { containers: [{ name: 'c', image: 'i' }] },
      }).metadata.uid;
    endpoint('kept', 1, pod('kept'));
    endpoint('ownerless', 1);
    pod('ownerless');
    endpoint('gone', 1, 'some-uid');
    endpoint('recreated', 1, 'earlier-uid');
    pod('recreated');
    endpoint('ended', 1, pod('ended'));
    cluster.applyStatus({ ...cluster.get('v1/pods', 'ended', 'default')!, status: { phase: 'Succeeded' } });
    await new EndpointGc(contextOf(server, clock), MINUTE).round(never);
    const left = [...cluster.store.collection('cilium.io/ciliumendpoints').values()].map(
      ({ metadata }) => metadata.name,
    );
    assert.deepEqual(left.sort(), ['kept', 'ownerless']);
  });

  test('a CiliumNode goes when its Node was away twice', async () => {
    for (const name of ['a', 'b'])
      cluster.apply({ apiVersion: 'cilium.io/v2', kind: 'CiliumNode', metadata: { name }, spec: {} });
    cluster.apply({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'a' } });
    const gc = new NodeGc(contextOf(server, clock), MINUTE);
    await gc.round(never);
    assert.ok(cluster.get('cilium.io/v2/ciliumnodes', 'b'));
    await gc.round(never);
    assert.ok(cluster.get('cilium.io/v2/ciliumnodes', 'a'));
    assert.equal(cluster.get('cilium.io/v2/ciliumnodes', 'b'), undefined);
  });
});
