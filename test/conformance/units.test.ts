/** Small facts of a peer: name patterns, port names, label selectors. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { parseLabel, type Label } from '../../agent/model/labels.ts';
import { DEFAULT_DECODE_OPTIONS } from '../../agent/policy/api/index.ts';
import { finishSelector, nullableSelector } from '../../agent/policy/api/label-selector.ts';
import { isPortName } from '../../agent/policy/api/port.ts';
import { Reading } from '../../agent/policy/api/reading.ts';
import type { Requirement } from '../../agent/policy/rule.ts';
import { exactName, namePattern, namePatternFault } from '../../dns-proxy/rules/name-pattern.ts';

function load(name: string): unknown {
  return JSON.parse(readFileSync(new URL(`units/${name}`, import.meta.url), 'utf8'));
}

interface NameCase {
  readonly matchName: string;
  readonly matchPattern: string;
  readonly matches: readonly string[] | null;
  readonly sanitized?: string;
  readonly fqdn?: string;
  readonly error?: string;
  readonly dnsRuleSanitizeError?: string;
}

describe('name patterns', () => {
  const { cases, names } = load('fqdn-patterns.json') as { cases: readonly NameCase[]; names: readonly string[] };
  for (const item of cases) {
    test(item.matchPattern === '' ? `name ${item.matchName}` : `pattern ${item.matchPattern}`, () => {
      if (item.matchPattern !== '') assert.equal(namePatternFault(item.matchPattern) === undefined, item.error === undefined);
      if (item.error !== undefined || item.dnsRuleSanitizeError !== undefined) return;
      const pattern = item.matchPattern === '' ? exactName(item.matchName) : namePattern(item.matchPattern);
      assert.equal(pattern.text, item.sanitized ?? item.fqdn);
      assert.deepEqual(names.filter((name) => pattern.matches(name)), item.matches ?? []);
    });
  }
});

test('port names', () => {
  for (const { name, isSvcName } of load('port-names.json') as readonly { name: string; isSvcName: boolean }[]) {
    assert.equal(isPortName(name), isSvcName, name);
  }
});

describe('label selectors', () => {
  const { cases, labelSets } = load('selector-match.json') as {
    cases: readonly { selector: unknown; matches: readonly boolean[]; wildcard: boolean }[];
    labelSets: readonly (readonly string[])[];
  };
  const decode = nullableSelector({ source: 'any' });
  for (const { selector, matches, wildcard } of cases) {
    test(JSON.stringify(selector), () => {
      const draft = decode(selector, new Reading({ ...DEFAULT_DECODE_OPTIONS, schema: 'ignore' }));
      assert.ok(draft !== null);
      const { requirements } = finishSelector(draft);
      assert.equal(requirements.length === 0, wildcard);
      const found = labelSets.map((texts) => {
        const labels = texts.map((text) => parseLabel(text));
        return requirements.every((requirement) => holds(requirement, labels));
      });
      assert.deepEqual(found, matches);
    });
  }
});

/** The requirement's meaning in the plainest words (S19, S20): the engine has its own, indexed, matcher. */
function holds({ key, operator, values }: Requirement, labels: readonly Label[]): boolean {
  const colon = key.indexOf(':');
  const [source, name] = [key.slice(0, colon), key.slice(colon + 1)];
  const found = labels.filter((label) => label.key === name && (source === 'any' || label.source === source));
  if (operator === 'Exists') return found.length > 0;
  if (operator === 'DoesNotExist') return found.length === 0;
  const within = found.some((label) => values.includes(label.value));
  return operator === 'In' ? within : !within;
}
