/** An agent that follows slices, on an API server: what it learns from them, and what they tell it of its own endpoints. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import pino from 'pino';
import { textAt, type Json } from '../../test/fakes/kube-apiserver/object.ts';
import { KubeApiServer } from '../../test/fakes/kube-apiserver/server.ts';
import { CUSTOM_RESOURCE_DEFINITIONS } from '../k8s/crds/index.ts';
import { systemClock } from '../model/clock.ts';
import { openKubernetes, type Kubernetes } from './kubernetes.ts';
import { AgentBench, until } from './testing.ts';

const HERE = '192.0.2.1';
const THERE = '198.51.100.2';

describe('endpoints in slices', () => {
  const bench = new AgentBench();
  let cluster: KubeApiServer;
  let kubernetes: Kubernetes;

  const networking = (ipv4: string, node: string): Json => ({ addressing: [{ ipv4 }], node });
  const pod = (name: string): void => {
    const spec = { nodeName: 'n1', containers: [{ name: 'c', image: 'i' }] };
    cluster.apply({ apiVersion: 'v1', kind: 'Pod', metadata: { name, labels: { app: name } }, spec });
  };
  const endpoint = (name: string, ipv4: string, node: string): void => {
    const object = { apiVersion: 'cilium.io/v2', kind: 'CiliumEndpoint', metadata: { name } };
    cluster.apply(object);
    cluster.applyStatus({ ...object, status: { identity: { id: 4000 }, networking: networking(ipv4, node) } });
  };
  const slice = (name: string, endpoints: readonly (readonly [string, number, string, string])[]): void => {
    cluster.apply({
      ...{ apiVersion: 'cilium.io/v2alpha1', kind: 'CiliumEndpointSlice', metadata: { name }, namespace: 'default' },
      endpoints: endpoints.map(([pod, id, ipv4, node]) => ({ name: pod, id, networking: networking(ipv4, node) })),
    });
  };
  const stored = (name: string) => cluster.get('cilium.io/v2/ciliumendpoints', name, 'default');

  before(async () => {
    cluster = await new KubeApiServer({ tls: false, recordRequests: true }).start();
    for (const definition of CUSTOM_RESOURCE_DEFINITIONS) cluster.apply(definition);
    const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1' } };
    cluster.apply(node);
    cluster.applyStatus({ ...node, status: { addresses: [{ type: 'InternalIP', address: HERE }] } });
    pod('web');
    // Of an earlier run: a pod that is gone, and one that has started again on another node, which the slice knows not yet.
    endpoint('gone', '10.0.0.98', HERE);
    endpoint('moved', '10.0.9.7', THERE);
    slice('ces-1', [
      ['far', 4000, '10.0.9.1', THERE],
      ['gone', 4000, '10.0.0.98', HERE],
      ['moved', 4000, '10.0.0.99', HERE],
    ]);
    const kubeconfig = join(bench.dir, 'kubeconfig');
    writeFileSync(kubeconfig, cluster.kubeconfig());
    kubernetes = await openKubernetes(
      { kubeconfig, servers: [], heartbeatTimeout: 15_000, endpointSlices: true, qps: 100, burst: 100 },
      'n1',
      systemClock,
      pino({ level: 'silent' }),
    );
    await bench.start({ kubernetes, source: kubernetes.source });
  });
  after(async () => {
    await bench[Symbol.asyncDispose]();
    kubernetes[Symbol.dispose]();
    await cluster.stop();
  });

  test('say where pods of other nodes are; single endpoints are not followed', async () => {
    await until('the endpoint', () => bench.kernel.identityAt('10.0.9.1/32') === 4000);
    const followed = new Set(cluster.requests.filter(({ verb }) => verb === 'watch').map(({ resource }) => resource));
    assert.ok(followed.has('ciliumendpointslices') && !followed.has('ciliumendpoints'), [...followed].join());
    slice('ces-2', [['far', 4001, '10.0.9.1', THERE]]);
    slice('ces-1', [['moved', 4000, '10.0.0.99', HERE]]);
    await until('its new identity, from another slice', () => bench.kernel.identityAt('10.0.9.1/32') === 4001);
    cluster.remove('cilium.io/v2alpha1/ciliumendpointslices', 'ces-2');
    await until('it to go', () => bench.kernel.identityAt('10.0.9.1/32') !== 4001);
  });

  test('name what an earlier run announced: it is taken back, but for what is another node’s by now', async () => {
    await until('the endpoint to go', () => stored('gone') === undefined);
    assert.equal(textAt(stored('moved'), 'status', 'networking', 'node'), THERE);
  });

  test('no longer name an endpoint that somebody deleted: it is announced again', async () => {
    const { networking: own } = (await bench.add('web')).status ?? {};
    const ipv4 = own?.addressing?.[0]?.ipv4 ?? '';
    await until('the endpoint', () => stored('web')?.['status'] !== undefined);
    const written = (): number =>
      cluster.requests.filter(({ verb, resource }) => verb === 'create' && resource === 'ciliumendpoints').length;
    const before = written();
    // To another slice and back; nobody has deleted it.
    slice('ces-3', [['web', 4000, ipv4, HERE]]);
    slice('ces-4', [['web', 4000, ipv4, HERE]]);
    cluster.remove('cilium.io/v2alpha1/ciliumendpointslices', 'ces-3');
    slice('ces-5', [['far', 4002, '10.0.9.1', THERE]]);
    await until('all that to be heard', () => bench.kernel.identityAt('10.0.9.1/32') === 4002);
    assert.equal(written(), before);
    cluster.remove('cilium.io/v2/ciliumendpoints', 'web', 'default');
    cluster.remove('cilium.io/v2alpha1/ciliumendpointslices', 'ces-4');
    await until('the endpoint to be back', () => stored('web')?.['status'] !== undefined);
  });
});
