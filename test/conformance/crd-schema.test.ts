/** The schema of a policy's definition and its decoder agree: what the decoder takes, an API server must let in whole. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { CUSTOM_RESOURCE_DEFINITIONS } from '../../agent/k8s/crds/index.ts';
import { DEFAULT_DECODE_OPTIONS, decodePolicy } from '../../agent/policy/api/index.ts';
import { listAt, textAt, valueAt, type Json } from '../fakes/kube-apiserver/object.ts';
import { applyDefaults, prune, type Schema } from '../fakes/kube-apiserver/schema/schema.ts';
import { validate } from '../fakes/kube-apiserver/schema/validate.ts';

const folder = import.meta.dirname;
const everything = { ...DEFAULT_DECODE_OPTIONS, nodeSelectorLabels: true, extendedIPProtocols: true };
const SECTIONS = ['ingress', 'ingressDeny', 'egress', 'egressDeny'];

function schemaOf(kind: string): Schema | undefined {
  const crd = CUSTOM_RESOURCE_DEFINITIONS.find(({ spec }) => textAt(spec, 'names', 'kind') === kind);
  return valueAt(crd?.spec, ['versions', '0', 'schema', 'openAPIV3Schema']) as Schema | undefined;
}

/**
 * What the peer's schema refuses too, though its decoder does not: a rule with a subject and no section, which does
 * nothing, and labels of a rule that are written as text.
 */
function isOfTheSchema(policy: Json): boolean {
  const rules = [policy['spec'], ...((policy['specs'] as unknown[] | undefined) ?? [])].filter((rule) => rule !== undefined);
  return rules.every(
    (rule) =>
      SECTIONS.some((section) => valueAt(rule, [section]) !== undefined) &&
      listAt(rule, 'labels').every((label) => typeof label !== 'string'),
  );
}

test('what the decoder takes, the schema lets in and keeps whole', () => {
  let compared = 0;
  for (const file of globSync('{policy,validation}/*.jsonl', { cwd: folder }).sort()) {
    // Protocols in lower case and names that no group can have are the schema's to refuse, as the peer's does.
    const text = readFileSync(path.join(folder, file), 'utf8')
      .replaceAll(/"protocol":"(tcp|udp|sctp|any)"/g, (all) => all.toUpperCase().replace('PROTOCOL', 'protocol'))
      .replaceAll('"Bad_Name!"', '"good-name"');
    for (const line of text.trimEnd().split('\n')) {
      const { scenario } = JSON.parse(line) as { scenario: { name: string; policies: Json[] } };
      for (const policy of scenario.policies) {
        const schema = schemaOf(textAt(policy, 'kind'));
        if (schema === undefined || decodePolicy(policy, everything).errors !== undefined || !isOfTheSchema(policy)) continue;
        const object = structuredClone(policy);
        assert.deepEqual(prune(object, schema), [], `${scenario.name}: pruned of ${JSON.stringify(policy)}`);
        applyDefaults(object, schema);
        assert.deepEqual(validate(object, schema), [], `${scenario.name}: ${JSON.stringify(policy)}`);
        compared++;
      }
    }
  }
  assert.ok(compared > 1000, `only ${compared} policies were compared`);
});
