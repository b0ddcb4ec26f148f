import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { QueryPolicies, type PeerNames, type Query } from './query-policy.ts';

const UDP = 17;
const DNS: Query = { server: 700, protocol: UDP, port: 53, name: 'www.cilium.io.' };

function rule(change: Partial<PeerNames>): PeerNames {
  return { protocol: UDP, port: 53, endPort: 0, peers: [700], names: [{ matchPattern: '*.cilium.io' }], ...change };
}

function decide(rules: readonly PeerNames[], query: Partial<Query> = {}): string {
  const policies = new QueryPolicies();
  policies.replace(1, rules);
  return policies.decide(1, { ...DNS, ...query });
}

describe('a query', () => {
  test('is decided by server, protocol, port and name', () => {
    assert.equal(decide([rule({})]), 'allowed');
    assert.equal(decide([rule({})], { name: 'www.example.com.' }), 'name');
    assert.equal(decide([rule({})], { server: 701 }), 'server');
    assert.equal(decide([rule({})], { protocol: 6 }), 'server');
    assert.equal(decide([rule({})], { port: 5353 }), 'server');
    assert.equal(decide([rule({ peers: undefined })], { server: 701 }), 'allowed');
    assert.equal(decide([rule({ peers: [] })]), 'server');
    assert.equal(decide([rule({ protocol: 0, port: 0 })], { protocol: 6, port: 9 }), 'allowed');
    assert.deepEqual(
      [52, 60, 61].map((port) => decide([rule({ endPort: 60 })], { port })),
      ['server', 'allowed', 'server'],
    );
  });

  test('may match any of several rules', () => {
    const rules = [rule({}), rule({ names: [{ matchName: 'Example.COM' }] }), rule({ peers: [9], names: [] })];
    assert.equal(decide(rules, { name: 'example.com.' }), 'allowed');
    assert.equal(decide(rules, { name: 'www.example.com.' }), 'name');
    assert.equal(decide(rules, { name: 'www.example.com.', server: 9 }), 'allowed');
  });

  test('a rule of name and pattern means either; one of neither means nothing; no rule at all means any name', () => {
    const both = rule({ names: [{ matchName: 'a.com', matchPattern: 'b.*' }] });
    assert.deepEqual(
      ['a.com.', 'b.com.', 'c.com.'].map((name) => decide([both], { name })),
      ['allowed', 'allowed', 'name'],
    );
    assert.equal(decide([rule({ names: [{}] })]), 'name');
    assert.equal(decide([rule({ names: [] })], { name: '\\007.' }), 'allowed');
    assert.equal(decide([rule({ names: [{ matchPattern: '*' }] })], { name: 'any.name.' }), 'allowed');
  });

  test('cannot smuggle a dot past a pattern', () => {
    assert.equal(
      decide([rule({ names: [{ matchPattern: '**.cilium.io' }] })], { name: 'evil.com\\.cilium.io.' }),
      'name',
    );
    assert.equal(decide([rule({})], { name: 'www\\.cilium.io.' }), 'name');
  });

  test('of an endpoint without rules is refused', () => {
    const policies = new QueryPolicies();
    assert.equal(policies.decide(1, DNS), 'server');
    policies.replace(1, [rule({})]);
    policies.replace(1, []);
    assert.equal(policies.decide(1, DNS), 'server');
    policies.replace(1, [rule({})]);
    policies.remove(1);
    assert.equal(policies.decide(1, DNS), 'server');
  });
});
