/** What an agent writes, against an API server that speaks real HTTP. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { parseAllDocuments } from 'yaml';
import type { Json } from '../../../test/fakes/kube-apiserver/object.ts';
import { KubeApiServer } from '../../../test/fakes/kube-apiserver/server.ts';
import { systemClock } from '../../model/clock.ts';
import { ManualClock } from '../../model/manual-clock.ts';
import { ApiClient } from './client.ts';
import { Credentials } from './credentials.ts';
import { EventRecorder } from './event-recorder.ts';
import { ObjectTarget, type WantedObject } from './object-target.ts';
import { WriteLimiter } from './write-limiter.ts';

const CRDS = join(import.meta.dirname, '../../../install/crds.yaml');
const unlimited = { take: () => Promise.resolve() };

describe('what an agent writes', () => {
  let dir: string;
  let server: KubeApiServer;
  let client: ApiClient;
  const stored = (name: string) => server.get('cilium.io/v2/ciliumendpoints', name, 'default') as Json | undefined;
  const wanted = (name: string, id: number): WantedObject => ({
    ...{ kind: 'CiliumEndpoint', namespace: 'default', name },
    status: { id, state: 'ready', networking: { addressing: [{ ipv4: `10.0.0.${id}` }], node: '192.0.2.1' } },
  });
  const writes = (): number => server.requests.filter(({ verb }) => verb !== 'get' && verb !== 'list').length;

  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'weir-k8s-'));
    server = await new KubeApiServer({ recordRequests: true }).start();
    for (const document of parseAllDocuments(readFileSync(CRDS, 'utf8')))
      if (document.contents !== null) server.apply(document.toJS() as Json);
    writeFileSync(join(dir, 'kubeconfig'), server.kubeconfig());
    const credentials = Credentials.load({ kubeconfig: join(dir, 'kubeconfig'), servers: [], clock: systemClock });
    client = new ApiClient({ credentials, userAgent: 'test', clock: systemClock });
  });
  after(async () => {
    client.close();
    await server.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  test('objects are made, changed by their status alone, made again when they are lost', async () => {
    const target = new ObjectTarget(client, unlimited);
    await target.update([wanted('web', 7), wanted('db', 8)]);
    assert.equal((stored('web')!['status'] as Json)['id'], 7);
    const before = writes();
    await target.update([wanted('web', 9), wanted('db', 8)]);
    assert.equal((stored('web')!['status'] as Json)['id'], 9);
    assert.equal(writes(), before + 1);
    await client.request({ method: 'DELETE', path: '/apis/cilium.io/v2/namespaces/default/ciliumendpoints/web' });
    await target.update([{ ...wanted('web', 9), attempt: 1 }]);
    assert.equal((stored('web')!['status'] as Json)['id'], 9);
  });

  test('the status of an object whose definition, Cilium’s, keeps no status apart', async () => {
    const name = 'ciliumendpoints.cilium.io';
    const DEFINITIONS = 'apiextensions.k8s.io/v1/customresourcedefinitions';
    const ours = structuredClone(server.get(DEFINITIONS, name)!) as Json;
    const theirs = structuredClone(ours) as { spec: { versions: Json[] } };
    for (const version of theirs.spec.versions) delete version['subresources'];
    server.apply(theirs);
    try {
      const target = new ObjectTarget(client, unlimited);
      for (const id of [1, 2]) {
        await target.update([wanted('foreign', id)]);
        assert.equal((stored('foreign')!['status'] as Json)['id'], id);
      }
    } finally {
      server.apply(ours);
    }
  });

  test('where the owner of what exists may not be changed, the rest is', async () => {
    const node: WantedObject = {
      ...{ kind: 'CiliumNode', namespace: '', name: 'n1' },
      owner: { apiVersion: 'v1', kind: 'Node', name: 'n1', uid: 'u1' },
      spec: { bootid: 'b' },
    };
    server.apply({ apiVersion: 'cilium.io/v2', kind: 'CiliumNode', metadata: { name: 'n1' }, spec: {} });
    const match = { verb: 'patch', resource: 'ciliumnodes.cilium.io' };
    server.faults.add({ match, action: { kind: 'status', code: 403 }, times: 1 });
    await new ObjectTarget(client, unlimited).update([node]);
    const { spec, metadata } = server.get('cilium.io/v2/ciliumnodes', 'n1')!;
    assert.deepEqual([spec, metadata.ownerReferences], [{ bootid: 'b' }, undefined]);
    server.faults.add({ match, action: { kind: 'status', code: 403 } });
    await assert.rejects(new ObjectTarget(client, unlimited).update([node]), { httpStatus: 403 });
    server.faults.clear();
  });

  test('an agent that starts takes over what its last run wrote', async () => {
    const target = new ObjectTarget(client, unlimited);
    await target.update([{ ...wanted('db', 12), labels: { a: 'b' } }]);
    assert.equal((stored('db')!['status'] as Json)['id'], 12);
    assert.deepEqual((stored('db')!['metadata'] as Json)['labels'], { a: 'b' });
  });

  test('only what was written is deleted, not what took its name since', async () => {
    const target = new ObjectTarget(client, unlimited);
    const key = { kind: 'CiliumEndpoint', namespace: 'default', name: 'db' } as const;
    await target.delete([key]);
    assert.ok(stored('db') !== undefined, 'this target never wrote it');
    await target.update([wanted('db', 1)]);
    await client.request({ method: 'DELETE', path: '/apis/cilium.io/v2/namespaces/default/ciliumendpoints/db' });
    await new ObjectTarget(client, unlimited).update([wanted('db', 2)]);
    await target.delete([key]);
    assert.equal((stored('db')!['status'] as Json)['id'], 2, 'another node’s by now');
  });

  test('a fault of one object does not keep the others from being written', async () => {
    const target = new ObjectTarget(client, unlimited);
    const bad = { ...wanted('bad', 1), status: { id: 'no number' } };
    await assert.rejects(target.update([bad, wanted('good', 3)]), { code: 'KUBERNETES_REFUSED' });
    assert.equal((stored('good')!['status'] as Json)['id'], 3);
  });

  test('a rejected object gets one event of all nodes, and another when it is wrong in another way', async () => {
    const recorders = ['n1', 'n2'].map((nodeName) => {
      const onError = (message: string, error: unknown): never => assert.fail(`${message}: ${String(error)}`);
      return new EventRecorder({ server: client, limiter: unlimited, clock: systemClock, nodeName, onError });
    });
    const of = (kind: 'NetworkPolicy' | 'CiliumNetworkPolicy', apiVersion: string) => ({
      ...{ apiVersion, kind, namespace: 'default', name: 'p', uid: 'u', object: {} },
    });
    const resource = of('NetworkPolicy', 'networking.k8s.io/v1');
    for (const errors of [['spec: is empty'], ['spec: is empty'], ['spec: is odd']])
      for (const recorder of recorders) await recorder.record({ resource, accepted: false, errors });
    // Of Cilium's policies the operator tells.
    const cilium = of('CiliumNetworkPolicy', 'cilium.io/v2');
    await recorders[0]!.record({ resource: cilium, accepted: false, errors: ['spec: is bad'] });
    const { items } = (await client.request({ method: 'GET', path: '/api/v1/namespaces/default/events' })) as {
      items: { message: string; reason: string; involvedObject: Json }[];
    };
    assert.deepEqual(items.map(({ message }) => message).sort(), ['spec: is empty', 'spec: is odd']);
    assert.equal(items[0]!.involvedObject['name'], 'p');
  });
});

test('writes beyond the burst wait for their turn', async () => {
  const clock = new ManualClock(1_000_000);
  const limiter = new WriteLimiter({ clock, qps: 10, burst: 3 });
  let passed = 0;
  const all = Array.from({ length: 6 }, () => limiter.take().then(() => passed++));
  await clock.advance(0);
  assert.equal(passed, 3);
  await clock.advance(100);
  assert.equal(passed, 4);
  await clock.advance(200);
  assert.equal(passed, 6);
  await Promise.all(all);
});
