/** Every example of docs/policies is valid, and decides what its comment says, in the engine of the agent. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { decodePolicy, isPolicyKind } from '../../agent/policy/api/index.ts';
import { OfflineCluster } from '../../cli/policy/offline-cluster.ts';
import { findPeer, parseFlowPort } from '../../cli/policy/peer.ts';
import { exampleCluster, policyExamples } from './policy-example.ts';

const pods = exampleCluster();
const index = readFileSync(path.join(import.meta.dirname, '../../docs/policies/README.md'), 'utf8');

for (const { file, title, resources, flows } of policyExamples()) {
  describe(file, () => {
    test('is valid, explained, listed, and says what it decides', () => {
      const policies = resources.filter(({ kind }) => isPolicyKind(kind));
      assert.notEqual(policies.length, 0);
      for (const { object } of policies) assert.deepEqual(decodePolicy(object).errors, undefined);
      assert.match(title, /\w/);
      assert.ok(flows.some(({ allowed }) => allowed) || flows.some(({ allowed }) => !allowed));
      assert.ok(index.includes(`(${file})`), 'README.md links every example');
    });
    const cluster = new OfflineCluster([...pods, ...resources]);
    for (const { source, destination, port, allowed, audited } of flows) {
      test(`${source} -> ${destination} ${port} ${audited ? 'audited' : allowed ? 'allowed' : 'denied'}`, () => {
        const to = findPeer(cluster, destination, '--dst');
        const flow = parseFlowPort(port, '--dport', (name) => cluster.portNamed(to, name));
        const decided = cluster.decide(findPeer(cluster, source, '--src'), to, flow);
        assert.equal(decided.allowed, allowed);
        const ends = [decided.egress, decided.ingress];
        assert.equal(allowed && ends.some((end) => end?.entry?.audited === true), audited);
      });
    }
  });
}
