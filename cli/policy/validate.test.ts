import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DEFAULT_DECODE_OPTIONS } from '../../agent/policy/api/index.ts';
import { describeReport, isClean, validateManifests } from './validate.ts';

function report(...texts: string[]) {
  const files = texts.map((text, i) => ({ file: `${String.fromCharCode(97 + i)}.yaml`, text }));
  return validateManifests(files, DEFAULT_DECODE_OPTIONS);
}

const GOOD = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: deny-all }
spec: { podSelector: {}, policyTypes: [Ingress, Egress] }
`;

const BAD = `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: web }
spec:
  endpointSelector: {}
  ingress:
    - fromEntities: [wrld]
      toPorts:
        - ports:
            - port: 80
              protocl: TCP
    - fromRequires: []
`;

describe('weir policy validate', () => {
  test('is content with good policies, and leaves other kinds alone', () => {
    const found = report(GOOD, 'apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: web }\n');
    assert.deepEqual(found, { policies: { valid: 1, invalid: 0 }, findings: [] });
    assert.equal(describeReport(found), '1 of 1 policies valid\n');
  });

  test('names every fault at once, each at its line and column, with what to do', () => {
    const found = report(BAD);
    assert.equal(isClean(found), false);
    assert.equal(
      describeReport(found),
      `a.yaml:7:22: error: CiliumNetworkPolicy default/web: spec.ingress[0].fromEntities[0] = "wrld": unknown entity "wrld" (did you mean world?)
a.yaml:10:15: error: CiliumNetworkPolicy default/web: spec.ingress[0].toPorts[0].ports[0].port = 80: must be a string, because it may be a name (quote it: "80")
a.yaml:11:15: error: CiliumNetworkPolicy default/web: spec.ingress[0].toPorts[0].ports[0].protocl = "TCP": unknown field (did you mean protocol?)
a.yaml:12:7: error: CiliumNetworkPolicy default/web: spec.ingress[1].fromRequires = []: this field is no longer part of the language (requirements are gone: add them to each selector of fromEndpoints)
0 of 1 policies valid
`,
    );
  });

  test('places faults in JSON, and in later documents', () => {
    const object = {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: 'a' },
      spec: { podSelektor: {} },
    };
    const found = report(JSON.stringify(object, null, 2), `${GOOD}---\n${BAD}`);
    assert.deepEqual(
      found.findings.map(({ file, line, column }) => [file, line, column].join(':')),
      ['a.yaml:8:5', 'b.yaml:12:22', 'b.yaml:15:15', 'b.yaml:16:15', 'b.yaml:17:7'],
    );
  });

  test('goes on after a document that is no YAML', () => {
    const found = report(`${BAD}---\na: [\n`);
    assert.equal(found.policies.invalid, 1);
    assert.match(describeReport(found), /fromEntities\[0\][\s\S]*a\.yaml:15:/);
  });

  test('takes a misspelt kind for the error it is', () => {
    assert.match(
      describeReport(report(BAD.replace('CiliumNetworkPolicy', 'CiliumNetworkPolcy'))),
      /did you mean CiliumNetworkPolicy\?/,
    );
  });

  test('warns when two objects have one name', () => {
    const found = report(GOOD, GOOD);
    assert.equal(isClean(found), true);
    assert.match(
      describeReport(found),
      /b\.yaml:3:13: warning: NetworkPolicy default\/deny-all: .*also defined at a\.yaml:3:13/,
    );
  });
});
