import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { listAt, textAt } from '../../test/fakes/kube-apiserver/object.ts';
import { KubeApiServer } from '../../test/fakes/kube-apiserver/server.ts';
import { waitFor } from '../../test/harness/wait.ts';
import { ApiClient } from '../k8s/apiserver/client.ts';
import { Credentials } from '../k8s/apiserver/credentials.ts';
import { systemClock } from '../model/clock.ts';
import { NetworkCondition } from './network-condition.ts';

test('a node that its cloud says has no network gets one said of it, once, whatever fails first', async () => {
  await using cluster = await new KubeApiServer({ tls: false, recordRequests: true }).start();
  const folder = mkdtempSync(path.join(tmpdir(), 'weir-condition-'));
  const kubeconfig = path.join(folder, 'kubeconfig');
  writeFileSync(kubeconfig, cluster.kubeconfig());
  const credentials = Credentials.load({ kubeconfig, servers: [], clock: systemClock });
  const server = new ApiClient({ credentials, userAgent: 'test', clock: systemClock });
  const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1' } };
  const conditions = [
    { type: 'Ready', status: 'True' },
    { type: 'NetworkUnavailable', status: 'True', reason: 'NoRouteCreated' },
  ];
  cluster.apply(node);
  cluster.applyStatus({ ...node, status: { conditions } });
  cluster.faults.add({ match: { resource: 'nodes/status' }, action: { kind: 'status', code: 403 }, times: 1 });
  const errors: string[] = [];
  const condition = new NetworkCondition({
    ...{ server, clock: systemClock, nodeName: 'n1' },
    onError: (message) => errors.push(message),
  });
  const states = (): string[] =>
    listAt(cluster.get('v1/nodes', 'n1'), 'status', 'conditions').map((each) =>
      `${textAt(each, 'type')}=${textAt(each, 'status')} ${textAt(each, 'reason')}`.trimEnd(),
    );
  try {
    condition.tell('one');
    condition.tell('one');
    await waitFor('the condition', () => states().includes('NetworkUnavailable=False WeirIsUp'));
    assert.deepEqual(states(), ['Ready=True', 'NetworkUnavailable=False WeirIsUp'], 'the others stay');
    assert.equal(errors.length, 1);
    const writes = (): number => cluster.requests.filter(({ verb }) => verb === 'patch').length;
    const before = writes();
    // A Node that took the name, of which it is said already.
    condition.tell('two');
    await condition.close();
    assert.equal(writes(), before);
  } finally {
    await condition.close();
    server.close();
    rmSync(folder, { recursive: true });
  }
});
