import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Interner, slim } from './slim.ts';

const metadata = {
  name: 'web',
  namespace: 'default',
  uid: 'u',
  resourceVersion: '7',
  creationTimestamp: '2026-01-01T00:00:00Z',
  managedFields: [{ manager: 'kubectl' }],
  labels: { app: 'web' },
  annotations: { 'kubectl.kubernetes.io/last-applied-configuration': '{}' },
};

test('of a pod its labels, containers’ ports and addresses are left', () => {
  const pod = {
    apiVersion: 'v1',
    metadata,
    spec: {
      nodeName: 'n1',
      volumes: [{ name: 'v' }],
      containers: [{ name: 'c', image: 'i', env: [{ name: 'E' }], ports: [{ name: 'http', containerPort: 80 }] }],
    },
    status: { phase: 'Running', podIP: '10.0.0.1', conditions: [{ type: 'Ready' }] },
  };
  assert.deepEqual(slim('Pod', pod, new Interner()), {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', namespace: 'default', uid: 'u', labels: { app: 'web' } },
    spec: { nodeName: 'n1', containers: [{ name: 'c', ports: [{ name: 'http', containerPort: 80 }] }] },
    status: { phase: 'Running', podIP: '10.0.0.1' },
  });
});

test('of a policy everything is left but its status', () => {
  const spec = { endpointSelector: {}, ingress: [{}], somethingNew: 1 };
  const policy = { apiVersion: 'cilium.io/v2', metadata: { name: 'p', generation: 3 }, spec, status: { x: 1 } };
  assert.deepEqual(slim('CiliumNetworkPolicy', policy, new Interner()), {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumNetworkPolicy',
    metadata: { name: 'p', generation: 3 },
    spec,
  });
});

test('the labels of a CiliumEndpoint are its identity’s', () => {
  const networking = { addressing: [{ ipv4: '10.0.0.1' }], node: '192.0.2.1' };
  const endpoint = {
    metadata: { name: 'web', namespace: 'default', labels: { app: 'web' } },
    status: { id: 7, identity: { id: 4242, labels: ['k8s:app=web'] }, networking, state: 'ready', log: [{}] },
  };
  assert.deepEqual(slim('CiliumEndpoint', endpoint, new Interner()), {
    kind: 'CiliumEndpoint',
    metadata: { name: 'web', namespace: 'default' },
    status: { id: 7, identity: { id: 4242 }, networking },
  });
});
