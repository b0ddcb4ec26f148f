import assert from 'node:assert/strict';
import { test } from 'node:test';
import { identityId } from '../model/identity.ts';
import { canonicalLabels, parseLabel } from '../model/labels.ts';
import { decodePolicy } from './api/index.ts';
import { DEFAULT_POLICY_CONFIG } from './config.ts';
import type { PolicyEngine } from './contract.ts';
import { createPolicyEngine } from './engine.ts';
import { explanationText } from './explaintext.ts';

const PODS: Readonly<Record<string, number>> = { web: 1001, client: 1002, db: 1003 };

function pod(app: string, namespace = 'shop') {
  const labels = [
    `k8s:app=${app}`,
    `k8s:io.kubernetes.pod.namespace=${namespace}`,
    'k8s:io.cilium.k8s.policy.cluster=default',
  ];
  return { id: identityId(PODS[app]!), labels: canonicalLabels(labels.map((text) => parseLabel(text))) };
}

function policy(name: string, spec: unknown): unknown {
  return { apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: { name, namespace: 'shop' }, spec };
}

function engineWith(...policies: readonly unknown[]): PolicyEngine {
  const engine = createPolicyEngine(DEFAULT_POLICY_CONFIG);
  engine.apply({
    policies: policies.map((object, i) => ({ key: String(i), rules: decodePolicy(object).rules! })),
    identities: [pod('web'), pod('client'), pod('db')],
  });
  return engine;
}

function trace(engine: PolicyEngine, peer: string, port: number): string {
  const packet = {
    direction: 'ingress',
    subject: identityId(PODS['web']!),
    peer: identityId(PODS[peer]!),
    protocol: 6,
    port,
  } as const;
  return explanationText(engine.explain(packet)).join('\n');
}

const fromClient = policy('allow-client', {
  endpointSelector: { matchLabels: { app: 'web' } },
  ingress: [
    { fromEndpoints: [{ matchLabels: { app: 'client' } }], toPorts: [{ ports: [{ port: '80', protocol: 'TCP' }] }] },
  ],
});
const notDb = policy('no-db', {
  endpointSelector: { matchLabels: { app: 'web' } },
  ingressDeny: [{ fromEndpoints: [{ matchLabels: { app: 'db' } }] }],
});
const forDb = policy('db', { endpointSelector: { matchLabels: { app: 'db' } }, ingress: [{}] });

test('an allowed packet names the rule that allows it', () => {
  assert.equal(
    trace(engineWith(fromClient, forDb), 'client', 80),
    `ALLOWED: TCP/80 from 1002 (k8s:app=client k8s:io.kubernetes.pod.namespace=shop) to 1001 (k8s:app=web k8s:io.kubernetes.pod.namespace=shop)
judged by the ingress policy of 1001 (k8s:app=web k8s:io.kubernetes.pod.namespace=shop)

A rule allows it.
Rules that match:
  decides   CiliumNetworkPolicy shop/allow-client spec.ingress[0] allows any:app=client k8s:io.cilium.k8s.policy.cluster=default k8s:io.kubernetes.pod.namespace=shop on TCP/80
One more rule is about other subjects.
To deny it: remove CiliumNetworkPolicy shop/allow-client spec.ingress[0], or add a rule to ingressDeny.`,
  );
});

test('a packet on the wrong port: what denies by default, and what is missing', () => {
  const text = trace(engineWith(fromClient), 'client', 81);
  assert.match(text, /^DENIED: TCP\/81/);
  assert.match(text, /these policies deny by default:\n {2}CiliumNetworkPolicy shop\/allow-client\n/);
  assert.match(text, /allow CiliumNetworkPolicy shop\/allow-client spec.ingress\[0\]: port: wants TCP\/80\n/);
  assert.match(
    text,
    /To allow it: nearest is CiliumNetworkPolicy shop\/allow-client spec.ingress\[0\]: add port TCP\/81,/,
  );
});

test('a packet from the wrong peer: the label that it lacks', () => {
  const text = trace(engineWith(fromClient), 'db', 80);
  assert.match(text, /peer: wants any:app=client \(has db\)/);
  assert.match(text, /give the peer any:app=client/);
});

test('a denial wins over an allowance, and is named', () => {
  const all = policy('all', { endpointSelector: {}, ingress: [{ fromEntities: ['all'] }] });
  const text = trace(engineWith(all, notDb), 'db', 80);
  assert.match(text, /^DENIED/);
  assert.match(text, /decides {3}CiliumNetworkPolicy shop\/no-db spec.ingressDeny\[0\] denies/);
  assert.match(text, /outranked CiliumNetworkPolicy shop\/all spec.ingress\[0\] allows all on every port/);
  assert.match(text, /To allow it: take it out of CiliumNetworkPolicy shop\/no-db spec.ingressDeny\[0\]\./);
});

test('without policy everything is allowed, and the answer says so', () => {
  assert.match(
    trace(engineWith(forDb), 'client', 80),
    /No policy is enforced for ingress here: everything is allowed\./,
  );
});

test('an explanation fits a screen, however many rules there are', () => {
  const many = Array.from({ length: 60 }, (_, i) =>
    policy(`p${i}`, { endpointSelector: {}, ingress: [{ fromEndpoints: [{ matchLabels: { app: `a${i}` } }] }] }),
  );
  assert.ok(trace(engineWith(...many), 'client', 80).split('\n').length <= 25);
});

const audited = (object: unknown): unknown => {
  const { metadata, ...rest } = object as { metadata: object };
  return { ...rest, metadata: { ...metadata, annotations: { 'policy.weir.io/audit': 'true' } } };
};

test('an audited default deny is not enforced: the answer names it, and what enforces it', () => {
  const text = trace(engineWith(audited(fromClient)), 'db', 80);
  assert.match(text, /^ALLOWED and audited: TCP/);
  assert.match(text, /No policy is enforced for ingress here/);
  assert.match(
    text,
    /these would deny it by default, so it is forwarded and reported:\n {2}CiliumNetworkPolicy shop\/allow-client spec\n/,
  );
  assert.match(text, /To deny it: remove the annotation policy.weir.io\/audit there\./);
  assert.match(trace(engineWith(audited(fromClient)), 'client', 80), /^ALLOWED: .*audited {3}Cilium.*allows any:app/s);
});

test('an audited denial beside an enforced allowance is reported, and an audited allowance opens nothing', () => {
  const all = policy('all', { endpointSelector: {}, ingress: [{ fromEntities: ['all'] }] });
  const text = trace(engineWith(all, audited(notDb)), 'db', 80);
  assert.match(
    text,
    /^ALLOWED and audited: .*would deny it, so .*:\n {2}CiliumNetworkPolicy shop\/no-db spec.ingressDeny/s,
  );
  assert.match(text, /audited {3}CiliumNetworkPolicy shop\/no-db spec.ingressDeny\[0\] denies/);
  assert.match(trace(engineWith(fromClient, audited(all)), 'db', 80), /^DENIED/);
});

test('unknown identities are refused', () => {
  const packet = { direction: 'egress', subject: identityId(9), peer: identityId(1001), protocol: 6, port: 1 } as const;
  assert.throws(() => engineWith().explain(packet), { code: 'IDENTITY_NOT_FOUND' });
});
