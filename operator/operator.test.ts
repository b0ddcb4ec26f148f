import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import pino from 'pino';
import { CUSTOM_RESOURCE_DEFINITIONS, SCHEMA_VERSION_LABEL } from '../agent/k8s/crds/index.ts';
import { systemClock } from '../agent/model/clock.ts';
import { KubeApiServer } from '../test/fakes/kube-apiserver/server.ts';
import { listAt, textAt } from '../test/fakes/kube-apiserver/object.ts';
import { waitFor } from '../test/harness/wait.ts';
import { serveHealth } from './health.ts';
import { Operator } from './operator.ts';
import { clientOf, configOf } from './testing.ts';

const FAST = [
  '--leader-election-lease-duration',
  '900ms',
  '--leader-election-renew-deadline',
  '600ms',
  '--leader-election-retry-period',
  '50ms',
];

describe('operator', () => {
  let cluster: KubeApiServer;
  const running: { stop: AbortController; done: Promise<void>; close: () => void }[] = [];
  beforeEach(async () => {
    cluster = await new KubeApiServer({ tls: false, recordRequests: true }).start();
  });
  afterEach(async () => {
    for (const { stop, done, close } of running.splice(0)) {
      stop.abort();
      await done;
      close();
    }
    await cluster.stop();
  });

  function start(identity: string, ...argv: string[]): { operator: Operator; stop: () => Promise<void> } {
    const server = clientOf(cluster, cluster.token(identity, { groups: ['system:masters'] }));
    const operator = new Operator({
      config: configOf(...FAST, ...argv),
      server,
      clock: systemClock,
      logger: pino({ level: 'silent' }),
      identity,
    });
    const stop = new AbortController();
    const done = operator.run(stop.signal);
    running.push({ stop, done, close: () => server.close() });
    return {
      operator,
      stop: async () => {
        stop.abort();
        await done;
      },
    };
  }

  const policy = (name: string, spec: unknown): object => ({
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumNetworkPolicy',
    metadata: { name },
    spec,
  });
  const valid = (name: string): unknown =>
    listAt(cluster.get('cilium.io/v2/ciliumnetworkpolicies', name, 'default'), 'status', 'conditions')[0];
  const lease = (): unknown => cluster.get('coordination.k8s.io/v1/leases', 'weir-operator', 'kube-system');

  test('registers the custom resources, and upgrades those of an older Weir', async () => {
    const [first] = CUSTOM_RESOURCE_DEFINITIONS;
    const spec = first!.spec as { versions: object[] };
    const older = { name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object' } } };
    cluster.apply({
      ...first!,
      metadata: { name: first!.metadata.name, labels: { keep: 'me' } },
      spec: { ...spec, versions: [older] },
    });
    // Of a Cilium that still runs, or did.
    const theirs = CUSTOM_RESOURCE_DEFINITIONS.find(({ metadata }) => metadata.name === 'ciliumnodes.cilium.io')!;
    const labels = { 'io.cilium.k8s.crd.schema.version': '1.30.2' };
    const { versions } = theirs.spec as { versions: object[] };
    const v2 = versions.map(({ ...version }) => ({ ...version, additionalPrinterColumns: [] }));
    cluster.apply({
      ...theirs,
      metadata: { name: theirs.metadata.name, labels },
      spec: { ...theirs.spec, versions: v2 },
    });
    start('one');
    const crd = await waitFor('the upgrade', () => {
      const found = cluster.get('apiextensions.k8s.io/v1/customresourcedefinitions', first!.metadata.name);
      return found?.metadata.labels?.[SCHEMA_VERSION_LABEL] === undefined ? undefined : found;
    });
    assert.equal(crd.metadata.labels?.['keep'], 'me');
    assert.deepEqual(
      listAt(crd, 'spec', 'versions').map((version) => textAt(version, 'name')),
      ['v2', 'v2alpha1', 'v1'],
    );
    await waitFor('the others', () =>
      CUSTOM_RESOURCE_DEFINITIONS.every(({ metadata }) =>
        cluster.get('apiextensions.k8s.io/v1/customresourcedefinitions', metadata.name),
      ),
    );
    const left = cluster.get('apiextensions.k8s.io/v1/customresourcedefinitions', theirs.metadata.name);
    assert.deepEqual(left?.metadata.labels, labels);
  });

  test('takes the taint of nodes away whose agent is there, and no other', async () => {
    const other = { key: 'other', effect: 'NoSchedule' };
    const taints = [{ key: 'node.cilium.io/agent-not-ready', effect: 'NoExecute' }, other];
    const left = (node: string): readonly unknown[] => listAt(cluster.get('v1/nodes', node), 'spec', 'taints');
    for (const crd of CUSTOM_RESOURCE_DEFINITIONS) cluster.apply(crd);
    for (const name of ['early', 'ready']) {
      const spec = name === 'ready' ? { addresses: [{ type: 'InternalIP', ip: '192.0.2.1' }] } : {};
      cluster.apply({ apiVersion: 'v1', kind: 'Node', metadata: { name }, spec: { taints } });
      cluster.apply({ apiVersion: 'cilium.io/v2', kind: 'CiliumNode', metadata: { name }, spec });
    }
    start('one');
    await waitFor('the taint to be gone', () => left('ready').length === 1);
    assert.deepEqual([left('ready'), left('early')], [[other], taints]);
  });

  test('says of each policy whether it is valid, and why not', async () => {
    start('one');
    await waitFor('the definitions', () =>
      cluster.get('apiextensions.k8s.io/v1/customresourcedefinitions', 'ciliumnodes.cilium.io'),
    );
    cluster.apply(policy('good', { endpointSelector: {}, ingress: [{}] }));
    cluster.apply(
      policy('bad', { endpointSelector: {}, ingress: [{ fromEntities: ['host'], fromCIDR: ['10.0.0.0/8'] }] }),
    );
    await waitFor('a verdict', () => textAt(valid('good'), 'status') === 'True');
    const condition = await waitFor('a refusal', () => valid('bad'));
    assert.equal(textAt(condition, 'status'), 'False');
    assert.match(textAt(condition, 'message'), /spec\.ingress\[0\].*cannot stand in one rule.*write one rule for each/);
    const event = await waitFor('an event', () =>
      [...cluster.store.collection('/events').values()].find(
        (found) => textAt(found, 'involvedObject', 'name') === 'bad',
      ),
    );
    assert.equal(textAt(event, 'reason'), 'PolicyInvalid');
    cluster.apply(policy('bad', { endpointSelector: {}, ingress: [{ fromEntities: ['host'] }] }));
    await waitFor('the corrected policy', () => textAt(valid('bad'), 'status') === 'True');
  });

  test('two of them: one leads, the other takes over at once when it ends', async () => {
    const one = start('one');
    await waitFor('one to lead', () => one.operator.leads);
    const two = start('two');
    await waitFor('two to look', () =>
      cluster.requests.some(({ user, resource }) => user === 'two' && resource === 'leases'),
    );
    await one.stop();
    assert.equal(textAt(lease(), 'spec', 'holderIdentity') === 'one', false);
    await waitFor('two to lead', () => two.operator.leads);
    assert.equal(textAt(lease(), 'spec', 'holderIdentity'), 'two');
  });

  test('one that cannot renew stops before another may begin', async () => {
    const one = start('one');
    await waitFor('one to lead', () => one.operator.leads);
    const two = start('two');
    let both = false;
    const watch = setInterval(() => (both ||= one.operator.leads && two.operator.leads), 1);
    cluster.faults.add({ match: { user: 'one', resource: 'leases.coordination.k8s.io' }, action: { kind: 'hang' } });
    await waitFor('two to lead', () => two.operator.leads);
    clearInterval(watch);
    assert.equal(both, false);
    assert.equal(one.operator.leads, false);
    // Whoever leads no more asks for nothing but the lease.
    cluster.requests.length = 0;
    cluster.apply(policy('p', { endpointSelector: {}, ingress: [{}] }));
    await waitFor('a verdict', () => textAt(valid('p'), 'status') === 'True');
    assert.deepEqual(
      [...new Set(cluster.requests.filter(({ user }) => user === 'one').map(({ resource }) => resource))].filter(
        (resource) => resource !== 'leases',
      ),
      [],
    );
  });

  test('health and metrics', async () => {
    const { operator } = start('one');
    await using health = await serveHealth(operator, { host: '127.0.0.1', port: 0 });
    const get = async (path: string): Promise<string> =>
      await (await fetch(`http://127.0.0.1:${health.port}${path}`)).text();
    await waitFor('it to lead', () => operator.leads);
    assert.equal(await get('/healthz'), 'ok: leads\n');
    assert.match(await get('/metrics'), /^cilium_operator_leader 1$/m);
  });
});
