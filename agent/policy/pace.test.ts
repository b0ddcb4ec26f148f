import assert from 'node:assert/strict';
import { test } from 'node:test';
import { identityId, type Identity } from '../model/identity.ts';
import { canonicalLabels, parseLabel } from '../model/labels.ts';
import { decodePolicy } from './api/index.ts';
import { DEFAULT_POLICY_CONFIG } from './config.ts';
import type { PolicyBatch } from './contract.ts';
import { createPolicyEngine } from './engine.ts';
import { Pace, sorting } from './pace.ts';

const SUBJECT = identityId(1000);
const COUNT = 10_000;
/** The most that may be done at once: a slice, and what comes in one piece on top. */
const LIMIT = 30_000;

const IN_SHOP = ['k8s:io.kubernetes.pod.namespace=shop', 'k8s:io.cilium.k8s.policy.cluster=default'];

function pods(count: number): readonly Identity[] {
  return Array.from({ length: count }, (_, i) => ({
    id: identityId(1000 + i),
    labels: canonicalLabels([`k8s:app=a${i % 200}`, `k8s:tier=t${i % 5}`, ...IN_SHOP].map((text) => parseLabel(text))),
  }));
}

/** Policies that all select the subject, with peers few and many, by what they are and by what they are not. */
function policies(count: number): NonNullable<PolicyBatch['policies']> {
  return Array.from({ length: count }, (_, i) => {
    const name = `p${i}`;
    if (i % 400 === 0)
      return policyOf(name, 81, { matchExpressions: [{ key: 'app', operator: 'NotIn', values: [name] }] });
    if (i % 2 === 0) return policyOf(name, 80, { matchLabels: { tier: `t${i % 5}` } });
    return policyOf(name, 1000 + (i % 300), { matchLabels: { app: `a${i % 200}` } });
  });
}

function policyOf(name: string, port: number, peer: unknown): NonNullable<PolicyBatch['policies']>[number] {
  const toPorts = [{ ports: [{ port: String(port), protocol: 'TCP' }] }];
  const spec = { endpointSelector: {}, ingress: [{ fromEndpoints: [peer], toPorts }] };
  const metadata = { name, namespace: 'shop' };
  const { rules } = decodePolicy({ apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata, spec });
  return { key: name, rules };
}

test('10,000 policies about one endpoint, among 10,000 identities, are worked on in small pieces', () => {
  const pace = new Pace();
  const engine = createPolicyEngine(DEFAULT_POLICY_CONFIG, pace);
  const all = policies(COUNT);
  engine.apply({ policies: all, identities: pods(COUNT) });
  const pieces = (work: Iterable<void>): number => {
    pace.longest = 0;
    let turns = 1;
    for (const _turn of work) turns++;
    assert.ok(pace.longest < LIMIT, `${pace.longest} in one piece`);
    return turns;
  };
  assert.ok(pieces(engine.prepare(SUBJECT)) > 10);
  pace.longest = 0;
  const changes: number[] = [];
  const endpoints = [1, 2, 3].map(() =>
    engine.endpointPolicy({
      identity: SUBJECT,
      onChange: ({ size }) => changes.push(size),
    }),
  );
  assert.equal(pace.longest, 0, 'what is prepared is not made again');
  engine.apply({
    policies: [
      ...all.slice(0, 100).map(({ key }) => ({ key, rules: undefined })),
      policyOf('new', 9000, { matchLabels: { app: 'a1' } }),
    ],
  });
  assert.ok(pieces(engine.refresh()) > 10);
  assert.equal(changes.length, endpoints.length);
  assert.ok(endpoints.every(({ mapState }) => mapState.size > 10_000));
  assert.ok(changes.every((count) => count > 0));
});

test('sorting in pieces sorts, and keeps the order of equals', () => {
  const items = Array.from({ length: 5000 }, (_, i) => ({ rank: (i * 7919) % 613, i }));
  const compare = (a: { rank: number }, b: { rank: number }): number => a.rank - b.rank;
  const pace = new Pace(100);
  const work = sorting(items, compare, pace);
  let turn = work.next();
  let turns = 0;
  for (; turn.done !== true; turn = work.next()) turns++;
  assert.deepEqual(turn.value, [...items].sort(compare));
  assert.ok(turns > 10);
  assert.deepEqual([...sorting([], compare, pace)], []);
});
