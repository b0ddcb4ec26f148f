import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { listAt, textAt } from '../../test/fakes/kube-apiserver/object.ts';
import { plainDefinitions } from '../../test/fakes/kube-apiserver/plain-definitions.ts';
import { KubeApiServer } from '../../test/fakes/kube-apiserver/server.ts';
import { waitFor } from '../../test/harness/wait.ts';
import { PodDirectory } from '../endpoint/pod-directory.ts';
import { ApiClient } from '../k8s/apiserver/client.ts';
import { Credentials } from '../k8s/apiserver/credentials.ts';
import { WriteLimiter } from '../k8s/apiserver/write-limiter.ts';
import { decodeNode } from '../k8s/node.ts';
import { formatAddress, parseAddress } from '../model/address.ts';
import { systemClock } from '../model/clock.ts';
import { Announcer } from './announcer.ts';
import { OwnNode } from './own-node.ts';

const own = (): OwnNode =>
  new OwnNode({ name: 'n1', routers: [], detected: () => [parseAddress('192.0.2.9')], health: () => ({}) });

test('a node that is gone from the cluster by mistake announces itself again', async () => {
  await using cluster = await new KubeApiServer({ tls: false }).start();
  for (const definition of plainDefinitions()) cluster.apply(definition);
  const folder = mkdtempSync(path.join(tmpdir(), 'weir-announcer-'));
  const kubeconfig = path.join(folder, 'kubeconfig');
  writeFileSync(kubeconfig, cluster.kubeconfig());
  const credentials = Credentials.load({ kubeconfig, servers: [], clock: systemClock });
  const server = new ApiClient({ credentials, userAgent: 'test', clock: systemClock });
  const announcer = new Announcer({
    ...{ server, clock: systemClock, own: own(), pods: new PodDirectory(() => undefined), podCidrs: [] },
    limiter: new WriteLimiter({ clock: systemClock, qps: 100, burst: 100 }),
    onError: (message) => assert.fail(message),
  });
  const announced = (): string =>
    textAt(listAt(cluster.get('cilium.io/v2/ciliumnodes', 'n1'), 'spec', 'addresses')[0], 'ip');
  try {
    announcer.begin();
    await waitFor('the node', () => announced() === '192.0.2.9');
    await server.request({ method: 'DELETE', path: '/apis/cilium.io/v2/ciliumnodes/n1' });
    announcer.nodeLost();
    await waitFor('the node again', () => announced() === '192.0.2.9');
  } finally {
    await announcer.close();
    server.close();
    rmSync(folder, { recursive: true });
  }
});

test('a node that has external addresses only is reached by one of them', () => {
  const node = own();
  const status = { addresses: [{ type: 'ExternalIP', address: '203.0.113.7' }] };
  const object = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1' }, status };
  const resource = { apiVersion: 'v1', kind: 'Node', namespace: '', name: 'n1', uid: 'u', object } as const;
  node.setObject('u', decodeNode(resource));
  assert.equal(formatAddress(node.address()!), '203.0.113.7');
});
