import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Client } from './client.ts';
import { textAt, type Json, type KubeObject } from './object.ts';
import { KubeApiServer } from './server.ts';

const CONFIG_MAPS = '/api/v1/namespaces/default/configmaps';
const PODS = '/api/v1/namespaces/default/pods';

const configMap = (name: string, data: Record<string, string> = {}, more: Json = {}): Json => ({
  metadata: { name, ...more },
  data,
});
const pod = (name: string, more: Json = {}): Json => ({
  metadata: { name },
  spec: { containers: [{ name: 'c', image: 'i:1' }], ...more },
});
const items = (body: Json): KubeObject[] => body['items'] as KubeObject[];
const names = (body: Json): string[] => items(body).map(({ metadata }) => metadata.name);

describe('API server', () => {
  let server: KubeApiServer;
  let client: Client;

  before(async () => {
    server = await new KubeApiServer({ tls: false, recordRequests: true }).start();
    client = new Client(server);
  });
  after(() => server.stop());

  async function take(events: AsyncGenerator<{ type: string; object: KubeObject }>, count: number): Promise<string[]> {
    const taken: string[] = [];
    while (taken.length < count) {
      const { value, done } = (await events.next()) as { value: { type: string; object: KubeObject }; done?: boolean };
      if (done === true) break;
      taken.push(
        `${value.type} ${(value.object.metadata as Partial<KubeObject['metadata']>).name ?? textAt(value.object, 'reason')}`.trim(),
      );
    }
    return taken;
  }

  it('refuses strangers, and what no rule allows', async () => {
    assert.equal((await new Client(server, 'nonsense').get(PODS)).code, 401);
    const bob = new Client(server, server.token('bob'));
    const refused = await bob.get(PODS);
    assert.equal(refused.code, 403);
    assert.equal(
      refused.body['message'],
      'pods is forbidden: User "bob" cannot list resource "pods" in API group "" in the namespace "default"',
    );
    server.apply({
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'Role',
      metadata: { name: 'r' },
      rules: [{ apiGroups: [''], resources: ['pods'], verbs: ['list'] }],
    });
    server.apply({
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'RoleBinding',
      metadata: { name: 'b' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'r' },
      subjects: [{ kind: 'User', name: 'bob' }],
    });
    assert.equal((await bob.get(PODS)).code, 200);
    assert.equal((await bob.get('/api/v1/pods')).code, 403);
    assert.equal((await bob.get(`${PODS}?watch=1`)).code, 403);
    assert.equal((await bob.get('/api')).code, 200);
  });

  it('counts one revision, and refuses stale writes', async () => {
    const created = await client.post(CONFIG_MAPS, configMap('conflict', { a: '1' }));
    assert.equal(created.code, 201);
    assert.equal((await client.post(CONFIG_MAPS, configMap('conflict'))).body['reason'], 'AlreadyExists');
    const updated = await client.put(`${CONFIG_MAPS}/conflict`, { ...created.body, data: { a: '2' } });
    assert.ok(Number(updated.body.metadata.resourceVersion) > Number(created.body.metadata.resourceVersion));
    const stale = await client.put(`${CONFIG_MAPS}/conflict`, { ...created.body, data: { a: '3' } });
    assert.deepEqual([stale.code, stale.body['reason']], [409, 'Conflict']);
    const same = await client.put(`${CONFIG_MAPS}/conflict`, updated.body);
    assert.equal(same.body.metadata.resourceVersion, updated.body.metadata.resourceVersion);
    assert.equal((await client.delete(`${CONFIG_MAPS}/conflict`, { preconditions: { uid: 'other' } })).code, 409);
  });

  it('watches from a revision, with selectors that objects come under and leave', async () => {
    const { resourceVersion } = (await client.get(CONFIG_MAPS)).body.metadata;
    const stop = new AbortController();
    const all = client.watch(`${CONFIG_MAPS}?watch=1&resourceVersion=${resourceVersion}`, stop.signal);
    const red = client.watch(
      `${CONFIG_MAPS}?watch=1&resourceVersion=${resourceVersion}&labelSelector=color%3Dred`,
      stop.signal,
    );
    await client.post(CONFIG_MAPS, configMap('w', {}, { labels: { color: 'blue' } }));
    await client.patch(`${CONFIG_MAPS}/w`, 'application/merge-patch+json', { metadata: { labels: { color: 'red' } } });
    await client.patch(`${CONFIG_MAPS}/w`, 'application/merge-patch+json', {
      metadata: { labels: { color: 'green' } },
    });
    await client.delete(`${CONFIG_MAPS}/w`);
    assert.deepEqual(await take(all, 4), ['ADDED w', 'MODIFIED w', 'MODIFIED w', 'DELETED w']);
    assert.deepEqual(await take(red, 2), ['ADDED w', 'DELETED w']);
    stop.abort();
  });

  it('tells of compaction: 410 for watches, lists and continued lists', async () => {
    const { resourceVersion } = (await client.get(CONFIG_MAPS)).body.metadata;
    for (let i = 0; i < 5; i++) await client.post(CONFIG_MAPS, configMap(`page-${i}`));
    const first = await client.get(`${CONFIG_MAPS}?limit=2`);
    await client.delete(`${CONFIG_MAPS}/page-4`);
    const second = await client.get(`${CONFIG_MAPS}?limit=20&continue=${textAt(first.body, 'metadata', 'continue')}`);
    assert.deepEqual(
      [...names(first.body), ...names(second.body)].filter((name) => name.startsWith('page')),
      ['page-0', 'page-1', 'page-2', 'page-3', 'page-4'],
    );
    server.compact();
    const gone = await client.get(`${CONFIG_MAPS}?limit=2&continue=${textAt(first.body, 'metadata', 'continue')}`);
    assert.deepEqual([gone.code, gone.body['reason']], [410, 'Expired']);
    const rest = await client.get(`${CONFIG_MAPS}?continue=${textAt(gone.body, 'metadata', 'continue')}`);
    assert.equal(rest.code, 200);
    const watch = client.watch(`${CONFIG_MAPS}?watch=1&resourceVersion=${resourceVersion}`);
    assert.deepEqual(await take(watch, 1), ['ERROR Expired']);
  });

  it('streams a list: initial events, then a bookmark that says so', async () => {
    const stop = new AbortController();
    const query = 'watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true';
    const events = client.watch(`/api/v1/namespaces?${query}`, stop.signal);
    let [type, ended] = ['', false];
    while (type !== 'BOOKMARK') {
      const { value } = (await events.next()) as { value: { type: string; object: KubeObject } };
      type = value.type;
      ended = value.object.metadata.annotations?.['k8s.io/initial-events-end'] === 'true';
    }
    assert.ok(ended);
    stop.abort();
    assert.equal((await client.get('/api/v1/namespaces?watch=1&sendInitialEvents=true')).code, 422);
  });

  it('selects pods by node, and refuses fields that it does not index', async () => {
    await client.post(PODS, pod('here', { nodeName: 'n1' }));
    await client.post(PODS, pod('there', { nodeName: 'n2' }));
    assert.deepEqual(names((await client.get('/api/v1/pods?fieldSelector=spec.nodeName%3Dn1')).body), ['here']);
    assert.equal((await client.get('/api/v1/pods?fieldSelector=spec.priority%3D1')).code, 400);
  });

  it('stops a pod of a node gracefully, and one of none at once', async () => {
    await client.post(PODS, pod('bound', { nodeName: 'n1' }));
    const marked = await client.delete(`${PODS}/bound`);
    assert.equal(marked.body.metadata.deletionGracePeriodSeconds, 30);
    assert.equal((await client.get(`${PODS}/bound`)).code, 200);
    await client.delete(`${PODS}/bound`, { gracePeriodSeconds: 0 });
    assert.equal((await client.get(`${PODS}/bound`)).code, 404);
    await client.post(PODS, pod('unbound'));
    await client.delete(`${PODS}/unbound`);
    assert.equal((await client.get(`${PODS}/unbound`)).code, 404);
  });

  it('waits for finalizers, and takes no new ones', async () => {
    await client.post(CONFIG_MAPS, configMap('final', {}, { finalizers: ['a.test/b'] }));
    await client.delete(`${CONFIG_MAPS}/final`);
    const type = 'application/merge-patch+json';
    assert.equal(
      (await client.patch(`${CONFIG_MAPS}/final`, type, { metadata: { finalizers: ['a.test/b', 'a.test/c'] } })).code,
      422,
    );
    assert.equal((await client.patch(`${CONFIG_MAPS}/final`, type, { metadata: { finalizers: null } })).code, 200);
    assert.equal((await client.get(`${CONFIG_MAPS}/final`)).code, 404);
  });

  it('keeps status and the rest apart', async () => {
    const created = await client.post(PODS, { ...pod('parts'), status: { phase: 'Running' } });
    assert.equal((created.body['status'] as Json)['phase'], 'Pending');
    const type = 'application/merge-patch+json';
    const patched = await client.patch(`${PODS}/parts/status`, type, {
      spec: { nodeName: 'x' },
      status: { phase: 'Running' },
    });
    assert.equal((patched.body['status'] as Json)['phase'], 'Running');
    assert.equal((patched.body['spec'] as Json)['nodeName'], undefined);
    const ignored = await client.patch(`${PODS}/parts`, type, { status: { phase: 'Failed' } });
    assert.equal((ignored.body['status'] as Json)['phase'], 'Running');
  });

  it('does what faults say', async () => {
    server.faults.add({
      match: { verb: 'list', resource: 'pods' },
      action: { kind: 'status', code: 429, retryAfterSeconds: 2 },
      times: 1,
    });
    const busy = await client.get(PODS);
    assert.deepEqual([busy.code, busy.headers.get('retry-after')], [429, '2']);
    assert.equal((await client.get(PODS)).code, 200);
    const remove = server.faults.add({
      match: { resource: 'configmaps', verb: 'create' },
      action: { kind: 'lost-answer' },
    });
    await assert.rejects(client.post(CONFIG_MAPS, configMap('unheard')));
    remove();
    assert.equal((await client.get(`${CONFIG_MAPS}/unheard`)).code, 200);
    const events = client.watch(`${CONFIG_MAPS}?watch=1&resourceVersion=${server.store.revision}`);
    const next = take(events, 1);
    while (server.faults.watches({ resource: 'configmaps' }).length === 0)
      await new Promise((resolve) => setImmediate(resolve));
    server.faults.dropWatches({ resource: 'configmaps' });
    await assert.rejects(next);
  });

  it('removes what is owned when its owner goes', async () => {
    const owner = await client.post(CONFIG_MAPS, configMap('owner'));
    const reference = { apiVersion: 'v1', kind: 'ConfigMap', name: 'owner', uid: owner.body.metadata.uid };
    await client.post(CONFIG_MAPS, configMap('owned', {}, { ownerReferences: [reference] }));
    const stop = new AbortController();
    const events = client.watch(`${CONFIG_MAPS}?watch=1&resourceVersion=${server.store.revision}`, stop.signal);
    await client.delete(`${CONFIG_MAPS}/owner`);
    assert.deepEqual(await take(events, 2), ['DELETED owner', 'DELETED owned']);
    stop.abort();
  });
});
