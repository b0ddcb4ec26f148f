/** The manifests of install/kubernetes give the operator and the agent exactly what they need. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import pino from 'pino';
import { IdentityObjects } from '../agent/k8s/apiserver/identity-objects.ts';
import { KubernetesSource } from '../agent/k8s/apiserver/source.ts';
import { systemClock } from '../agent/model/clock.ts';
import { parseLabel } from '../agent/model/labels.ts';
import { listAt, textAt, type Json } from '../test/fakes/kube-apiserver/object.ts';
import { KubeApiServer } from '../test/fakes/kube-apiserver/server.ts';
import { granted, manifests, used } from '../test/harness/grants.ts';
import { waitFor } from '../test/harness/wait.ts';
import { Operator } from './operator.ts';
import { environmentName, OPTIONS } from './options.ts';
import { clientOf, configOf, defineKinds } from './testing.ts';

describe('permissions', () => {
  let cluster: KubeApiServer;
  beforeEach(async () => {
    cluster = await new KubeApiServer({ tls: false, recordRequests: true }).start();
    for (const object of manifests('rbac.yaml')) cluster.apply(object);
  });
  afterEach(() => cluster.stop());

  test('the operator uses every verb that it is given, and needs no other', async () => {
    const account = 'weir-operator';
    const config = configOf(
      ...['--ipam', 'cluster-pool', '--cluster-pool-ipv4-cidr', '10.0.0.0/20', '--enable-cilium-endpoint-slice'],
      ...['--identity-gc-interval', '50ms', '--identity-heartbeat-timeout', '100ms'],
      ...[
        '--cilium-endpoint-gc-interval',
        '50ms',
        '--nodes-gc-interval',
        '50ms',
        '--leader-election-retry-period',
        '50ms',
      ],
    );
    // A definition of an older Weir, so that there is something to upgrade.
    const old = {
      name: 'v2',
      served: true,
      storage: true,
      schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
      subresources: { status: {} },
    };
    const names = { kind: 'CiliumNode', plural: 'ciliumnodes' };
    cluster.apply({
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'CustomResourceDefinition',
      metadata: { name: 'ciliumnodes.cilium.io' },
      spec: { group: 'cilium.io', scope: 'Cluster', names, versions: [old] },
    });
    const server = clientOf(cluster, cluster.token(`system:serviceaccount:kube-system:${account}`));
    const operator = new Operator({
      config,
      server,
      clock: systemClock,
      logger: pino({ level: 'silent' }),
      identity: 'one',
    });
    const stop = new AbortController();
    const done = operator.run(stop.signal);
    const cilium = (kind: string, name: string, more: Json = {}): object => ({
      apiVersion: 'cilium.io/v2',
      kind,
      metadata: { name },
      ...more,
    });
    await waitFor(
      'the definitions',
      () =>
        cluster.get('apiextensions.k8s.io/v1/customresourcedefinitions', 'ciliumnodes.cilium.io')?.metadata.labels !==
        undefined,
      60_000,
    );
    // Something for every duty: valid and invalid policies, nodes with and without a Node, endpoints with and without a pod.
    const contradiction = { endpointSelector: {}, ingress: [{ fromEntities: ['host'], fromCIDR: ['10.0.0.0/8'] }] };
    cluster.apply(cilium('CiliumNetworkPolicy', 'bad', { spec: contradiction }));
    cluster.apply(cilium('CiliumClusterwideNetworkPolicy', 'bad', { spec: contradiction }));
    const taints = [{ key: 'node.cilium.io/agent-not-ready', value: 'true', effect: 'NoExecute' }];
    cluster.apply({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'a' }, spec: { taints } });
    const addresses = [{ type: 'InternalIP', ip: '192.0.2.1' }];
    for (const name of ['a', 'b']) cluster.apply(cilium('CiliumNode', name, { spec: { addresses } }));
    await waitFor(
      'pod CIDRs',
      () => listAt(cluster.get('cilium.io/v2/ciliumnodes', 'a'), 'spec', 'ipam', 'podCIDRs').length > 0,
      60_000,
    );
    cluster.apply(cilium('CiliumNode', 'thief', { spec: { ipam: { podCIDRs: ['10.0.0.0/20'] } } }));
    cluster.apply({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'thief' } });
    cluster.apply(cilium('CiliumIdentity', '1000', { 'security-labels': { 'k8s:a': 'b' } }));
    const status = { identity: { id: 2000 }, networking: { addressing: [{ ipv4: '10.0.0.1' }] } };
    const keep = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'keep' },
      spec: { containers: [{ name: 'c', image: 'i' }] },
    };
    cluster.apply(keep);
    for (const name of ['keep', 'other', 'gone']) {
      if (name === 'other') cluster.apply({ ...keep, metadata: { name } });
      cluster.apply(cilium('CiliumEndpoint', name));
      if (name !== 'gone') cluster.applyStatus(cilium('CiliumEndpoint', name, { status }));
    }
    const wanted = granted('weir-operator');
    let round = 0;
    try {
      await waitFor(
        'every verb',
        () => {
          // Slices come, change and go with their endpoints, until each verb was needed.
          const identity = { id: [2000, 2001, 0][Math.floor(round++ / 50) % 3] };
          for (const name of ['keep', 'other'])
            cluster.applyStatus(cilium('CiliumEndpoint', name, { status: { ...status, identity } }));
          const missing = [...wanted].filter((verb) => !used(cluster.requests, account).has(verb));
          if (missing.length > 0) throw new Error(`unused: ${missing.join(', ')}`);
          return true;
        },
        60_000,
      );
    } finally {
      stop.abort();
      await done;
      server.close();
    }
    assert.deepEqual(
      [...used(cluster.requests, account)].filter((verb) => !wanted.has(verb)),
      [],
    );
  });

  test('the agent follows everything and comes to identities with what it is given', async () => {
    const account = 'weir-agent';
    defineKinds(cluster);
    const server = clientOf(cluster, cluster.token(`system:serviceaccount:kube-system:${account}`));
    for (const endpointSlices of [false, true]) {
      const source = new KubernetesSource({
        server,
        clock: systemClock,
        nodeName: 'a',
        endpointSlices,
        onState: () => undefined,
      });
      await source.start(() => undefined);
      await source.stop();
    }
    const labels = [parseLabel('k8s:app=web')];
    const [one, two] = await Promise.all([1, 2].map(() => new IdentityObjects({ server }).agree(labels)));
    assert.equal(one!.id, two!.id);
    server.close();
    const asked = used(cluster.requests, account);
    const given = granted('weir-agent');
    assert.deepEqual(
      [...asked].filter((verb) => !given.has(verb)),
      [],
    );
    const reads = [...given].filter((verb) => /^(list|watch) /.test(verb));
    assert.deepEqual(
      reads.filter((verb) => !asked.has(verb)),
      [],
      'what it may read and does not',
    );
  });

  test('the workloads are well-formed, and their settings are settings', () => {
    for (const file of ['config.yaml', 'operator.yaml', 'agent.yaml'])
      for (const object of manifests(file)) cluster.apply(object);
    const known = new Set<string>(OPTIONS.map(({ name }) => environmentName(name)));
    const [operator] = manifests('operator.yaml');
    for (const variable of listAt(operator, 'spec', 'template', 'spec', 'containers', '0', 'env'))
      assert.ok(known.has(textAt(variable, 'name')), textAt(variable, 'name'));
  });
});
