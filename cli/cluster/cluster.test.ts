import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { CUSTOM_RESOURCE_DEFINITIONS } from '../../agent/k8s/crds/index.ts';
import { KubeApiServer } from '../../test/fakes/kube-apiserver/server.ts';
import { manifests } from '../../test/harness/grants.ts';
import { run } from '../run.ts';
import { MemoryTerminal } from '../testing/memory-terminal.ts';

describe('weir cluster status', () => {
  let server: KubeApiServer;
  let folder = '';
  before(async () => {
    server = await new KubeApiServer().start();
    folder = mkdtempSync(path.join(tmpdir(), 'weir-cluster-'));
    writeFileSync(path.join(folder, 'kubeconfig'), server.kubeconfig());
    for (const crd of CUSTOM_RESOURCE_DEFINITIONS) server.apply(crd);
  });
  after(async () => {
    rmSync(folder, { recursive: true });
    await server.stop();
  });

  const cilium = (kind: string, name: string, more: object = {}): object => ({
    ...{ apiVersion: 'cilium.io/v2', kind, metadata: { name } },
    ...more,
  });
  const pod = (name: string): void => {
    const spec = { nodeName: 'a', containers: [{ name: 'c', image: 'i' }] };
    server.apply({ apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec });
    server.applyStatus({ apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec, status: { phase: 'Running' } });
  };
  async function status(...words: string[]): Promise<{ code: number; text: string }> {
    const terminal = new MemoryTerminal();
    const code = await run(['cluster', 'status', '--kubeconfig', path.join(folder, 'kubeconfig'), ...words], terminal);
    assert.equal(terminal.stderr.text, '');
    return { code, text: terminal.stdout.text };
  }

  test('all is well', async () => {
    const spec = { holderIdentity: 'one', leaseDurationSeconds: 15, renewTime: '2026-11-23T10:00:20.000000Z' };
    server.apply({
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: { name: 'weir-operator', namespace: 'kube-system' },
      spec,
    });
    server.apply({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'a' } });
    server.apply(cilium('CiliumNode', 'a', { spec: {} }));
    pod('web');
    server.apply(cilium('CiliumEndpoint', 'web'));
    server.applyStatus(cilium('CiliumEndpoint', 'web', { status: { state: 'ready' } }));
    const policy = cilium('CiliumNetworkPolicy', 'p', { spec: { endpointSelector: {}, ingress: [{}] } });
    server.apply(policy);
    server.applyStatus({ ...policy, status: { conditions: [{ type: 'Valid', status: 'True' }] } });
    assert.deepEqual(await status(), {
      code: 0,
      text: [
        'Operator:     one leads',
        'Agents:       1/1 nodes',
        'Pods:         1/1 managed',
        'Endpoints:    1/1 ready',
        'Identities:   0',
        'Policies:     1/1 valid',
        '',
      ].join('\n'),
    });
  });

  test('in the pod of an agent, with what its account may do, and by the kubeconfig that kubectl would read', async () => {
    for (const object of manifests('rbac.yaml')) server.apply(object);
    const home = path.join(folder, 'home');
    mkdirSync(path.join(home, '.kube'), { recursive: true });
    const token = server.token('system:serviceaccount:kube-system:weir-agent');
    const config = path.join(home, '.kube/config');
    writeFileSync(config, server.kubeconfig(token));
    for (const env of [{ KUBECONFIG: `${folder}/none:${config}` }, { KUBECONFIG: '', HOME: home }]) {
      const terminal = new MemoryTerminal();
      Object.assign(terminal.env, env);
      const code = await run(['cluster', 'status'], terminal);
      assert.equal(code, 0, terminal.stderr.text);
      assert.match(terminal.stdout.text, /^Operator: +one leads$/m);
    }
  });

  test('a key-value store is there, or not well', async () => {
    const lease = (kvstore: string): object => ({
      ...{ apiVersion: 'coordination.k8s.io/v1', kind: 'Lease' },
      metadata: { name: 'weir-operator', namespace: 'kube-system', annotations: { 'weir.io/kvstore': kvstore } },
      spec: { holderIdentity: 'one', leaseDurationSeconds: 15, renewTime: '2026-11-23T10:00:20.000000Z' },
    });
    server.apply(lease('etcd http://e: ok'));
    const well = await status();
    assert.match(well.text, /KVStore: +etcd http:\/\/e: ok\n/);
    assert.match(well.text, /Identities: +in the key-value store/);
    assert.doesNotMatch(well.text, /kvstore:/);
    server.apply(lease('etcd http://e: cut off since yesterday'));
    const ill = await status();
    assert.equal(ill.code, 1);
    assert.match(ill.text, /kvstore: etcd http:\/\/e: cut off/);
  });

  test('names what is not', async () => {
    server.apply({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'b' } });
    pod('alone');
    const policy = cilium('CiliumNetworkPolicy', 'p', { spec: { endpointSelector: {}, ingress: [{}] } });
    server.applyStatus({
      ...policy,
      status: { conditions: [{ type: 'Valid', status: 'False', message: 'spec: why' }] },
    });
    const { code, text } = await status();
    assert.equal(code, 1);
    assert.match(text, /Agents: +1\/2 nodes/);
    assert.match(text, /^node b: no agent has announced it$/m);
    assert.match(text, /^pod default\/alone: is not managed/m);
    assert.match(text, /^policy default\/p: spec: why$/m);
    const { text: json } = await status('-o', 'json');
    assert.deepEqual((JSON.parse(json) as { pods: unknown }).pods, { total: 2, unmanaged: ['default/alone'] });
  });
});
