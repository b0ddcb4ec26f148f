import assert from 'node:assert/strict';
import { test } from 'node:test';
import { QueryPolicies } from '../../dns-proxy/rules/query-policy.ts';
import { canonicalLabels, parseLabel } from '../model/labels.ts';
import { identityId, type Identity } from '../model/identity.ts';
import { decodePolicy } from '../policy/api/index.ts';
import { DEFAULT_POLICY_CONFIG } from '../policy/config.ts';
import { createPolicyEngine } from '../policy/engine.ts';
import { peerNames, type PortsByName } from './peernames.ts';

const [POD, KUBE_DNS, OTHER] = [identityId(1001), identityId(1002), identityId(1003)];
const UDP = 17;

function pod(id: Identity['id'], namespace: string, app: string): Identity {
  const labels = [
    `k8s:app=${app}`,
    `k8s:io.kubernetes.pod.namespace=${namespace}`,
    'k8s:io.cilium.k8s.policy.cluster=default',
  ];
  return { id, labels: canonicalLabels(labels.map((text) => parseLabel(text))) };
}

/** The proxy's decisions for a pod under a policy with these egress rules. */
function proxyOf(egress: readonly unknown[], ports: PortsByName = () => []): QueryPolicies {
  const policy = {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumNetworkPolicy',
    metadata: { name: 'dns', namespace: 'app' },
    spec: { endpointSelector: { matchLabels: { app: 'web' } }, egress },
  };
  const engine = createPolicyEngine(DEFAULT_POLICY_CONFIG);
  const decoded = decodePolicy(policy);
  assert.ok('rules' in decoded, JSON.stringify(decoded));
  engine.apply({
    policies: [{ key: 'dns', rules: decoded.rules }],
    identities: [pod(POD, 'app', 'web'), pod(KUBE_DNS, 'kube-system', 'dns'), pod(OTHER, 'app', 'db')],
  });
  for (const _ of engine.refresh());
  const proxy = new QueryPolicies();
  proxy.replace(1, peerNames(engine.endpointPolicy({ identity: POD }).redirectPolicies(), ports));
  return proxy;
}

const toKubeDns = [{ matchLabels: { 'k8s:io.kubernetes.pod.namespace': 'kube-system', 'k8s:app': 'dns' } }];

test('a policy to kube-dns with a pattern, as the engine resolves it', () => {
  const ports = [{ port: '53', protocol: 'ANY' }];
  const proxy = proxyOf([
    { toEndpoints: toKubeDns, toPorts: [{ ports, rules: { dns: [{ matchPattern: '*.cilium.io' }] } }] },
    { toFQDNs: [{ matchPattern: '*.cilium.io' }] },
  ]);
  const ask = (server: number, protocol: number, name: string): string =>
    proxy.decide(1, { server, protocol, port: 53, name });
  assert.equal(ask(KUBE_DNS, UDP, 'docs.cilium.io.'), 'allowed');
  assert.equal(ask(KUBE_DNS, 6, 'docs.cilium.io.'), 'allowed');
  assert.equal(ask(KUBE_DNS, UDP, 'example.com.'), 'name');
  assert.equal(ask(OTHER, UDP, 'docs.cilium.io.'), 'server');
});

test('a second rule without layer 7 lets everything be asked (S26)', () => {
  const ports = [{ port: '53', protocol: 'UDP' }];
  const proxy = proxyOf([
    { toEndpoints: toKubeDns, toPorts: [{ ports, rules: { dns: [{ matchName: 'cilium.io' }] } }] },
    { toEndpoints: toKubeDns, toPorts: [{ ports }] },
  ]);
  assert.equal(proxy.decide(1, { server: KUBE_DNS, protocol: UDP, port: 53, name: 'example.com.' }), 'allowed');
});

test('a port by name is that of each server (S35), and never any port', () => {
  const egress = [
    { toPorts: [{ ports: [{ port: 'dns', protocol: 'UDP' }], rules: { dns: [{ matchPattern: '*' }] } }] },
  ];
  const proxy = proxyOf(egress, () => [{ identity: KUBE_DNS, port: 5353 }]);
  const ask = (server: number, port: number): string =>
    proxy.decide(1, { server, protocol: UDP, port, name: 'example.com.' });
  assert.deepEqual([ask(KUBE_DNS, 5353), ask(KUBE_DNS, 53), ask(OTHER, 5353)], ['allowed', 'server', 'server']);
});
