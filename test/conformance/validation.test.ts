/** What a peer accepts and rejects, policy by policy; and that our refusal names the field that the peer means. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { decodePolicy, type DecodeOptions } from '../../agent/policy/api/index.ts';

interface Line {
  readonly scenario: {
    readonly name: string;
    readonly config: Readonly<Record<string, unknown>>;
    readonly policies: readonly unknown[];
  };
  readonly answer: { readonly policies: readonly { readonly accepted: boolean }[] };
}

const file = new URL('validation/invalid.jsonl', import.meta.url);
const lines = readFileSync(file, 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line) as Line);

/** The peer's objects never passed an API server: its schema is not part of the answers. */
function optionsOf(config: Line['scenario']['config']): DecodeOptions {
  return {
    schema: 'ignore',
    clusterName: String(config['clusterName']),
    defaultLocalCluster: config['policyDefaultLocalCluster'] === true,
    l7Proxy: config['l7Proxy'] === true,
    icmpRules: config['icmpRules'] === true,
    nodeSelectorLabels: config['nodeSelectorLabels'] === true,
    extendedIPProtocols: config['extendedIPProtocols'] === true,
    nonDefaultDenyPolicies: config['nonDefaultDenyPolicies'] === true,
  };
}

describe('validation vectors', () => {
  for (const { scenario, answer } of lines) {
    test(scenario.name, () => {
      for (const [i, policy] of scenario.policies.entries()) {
        const { errors = [] } = decodePolicy(policy, optionsOf(scenario.config));
        assert.equal(errors.length === 0, answer.policies[i]!.accepted, JSON.stringify(errors, null, 2));
        for (const error of errors) assert.ok(error.message !== '' && error.remedy !== '');
      }
    });
  }
});
