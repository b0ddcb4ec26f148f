import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { formatIssue } from './manifest-issue.ts';
import { parseManifest } from './parse-manifest.ts';

const parse = (text: string) => {
  const { resources, issues } = parseManifest('m.yaml', text);
  return {
    names: resources.map((r) => `${r.apiVersion} ${r.kind} ${r.namespace}/${r.name}`),
    issues: issues.map((issue) => `${issue.severity} ${formatIssue(issue)}`),
    resources,
  };
};

describe('documents', () => {
  test('several documents, comments and empty ones', () => {
    const { names, issues } = parse(`# a comment
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
---
# only a comment
---
apiVersion: v1
kind: Pod
metadata:
  name: web-0
  namespace: shop
  labels: {app: web, empty: }
`);
    assert.deepEqual(names, ['v1 Namespace /shop', 'v1 Pod shop/web-0']);
    assert.deepEqual(issues, []);
  });

  test('lists are unpacked, JSON is read, an absent namespace is default', () => {
    const list = {
      apiVersion: 'v1',
      kind: 'List',
      items: [
        { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'a' } },
        { apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', metadata: { name: 'a-1', namespace: 'x' } },
      ],
    };
    const expected = ['v1 Pod default/a', 'discovery.k8s.io/v1 EndpointSlice x/a-1'];
    assert.deepEqual(parse(JSON.stringify(list)).names, expected);
    assert.deepEqual(parse(JSON.stringify(list, undefined, '\t')).names, expected);
    assert.deepEqual(parse(JSON.stringify({ ...list, kind: 'PodList' })).names, expected);
  });

  test('merge keys and anchors', () => {
    const { resources } = parse(`
apiVersion: v1
kind: Pod
metadata: &meta {name: a, labels: &l {app: web}}
spec:
  template: {<<: *l, tier: front}
`);
    assert.deepEqual(resources[0]!.object['spec'], { template: { app: 'web', tier: 'front' } });
  });

  test('aliases that expand without end are an error', () => {
    let text = 'a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n';
    for (let i = 1; i < 12; i++) text += `a${i}: &a${i} [${`*a${i - 1}, `.repeat(10)}]\n`;
    assert.match(parse(text).issues[0]!, /^error m.yaml:1:1: .*alias/i);
  });
});

describe('issues name file, line, column, object and field', () => {
  const cases: readonly (readonly [string, string, string])[] = [
    ['broken YAML', 'apiVersion: v1\nkind: [Pod\n', 'error m.yaml:3:1: '],
    ['a repeated key', 'apiVersion: v1\nkind: Pod\nkind: Pod\n', 'error m.yaml:3:1: Map keys must be unique'],
    ['a scalar', 'hello', 'error m.yaml:1:1: is not a Kubernetes object: expected a mapping'],
    ['no apiVersion', 'kind: Pod', 'error m.yaml:1:1: apiVersion: is missing'],
    ['no kind', 'apiVersion: v1', 'error m.yaml:1:1: kind: is missing'],
    ['a list of nothing', 'apiVersion: v1\nkind: List\nitems: {}', 'error m.yaml:3:1: items: must be a list, not {}'],
    ['no metadata', 'apiVersion: v1\nkind: Pod', 'error m.yaml:1:1: Pod: metadata: is missing'],
    [
      'no name',
      'apiVersion: v1\nkind: Pod\nmetadata:\n  labels: {}',
      'error m.yaml:3:1: Pod: metadata.name: is missing',
    ],
    [
      'a bad name',
      'apiVersion: v1\nkind: Pod\nmetadata:\n  name: Web_0',
      'error m.yaml:4:3: Pod Web_0: metadata.name: "Web_0" must consist of lower case',
    ],
    [
      'a name that is no label',
      'apiVersion: v1\nkind: Service\nmetadata: {name: a.b}',
      'error m.yaml:3:12: Service a.b: metadata.name: "a.b" must consist of',
    ],
    [
      'a namespace where none belongs',
      'apiVersion: v1\nkind: Node\nmetadata: {name: n1, namespace: x}',
      'error m.yaml:3:22: Node x/n1: metadata.namespace: must not be set: a Node belongs to no namespace',
    ],
    [
      'a label that is not text',
      'apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  labels:\n    app.x/y: 1',
      'error m.yaml:6:5: Pod a: metadata.labels["app.x/y"]: must be a string, not 1: put it in quotes',
    ],
    [
      'an unknown version',
      'apiVersion: cilium.io/v3\nkind: CiliumNetworkPolicy\nmetadata: {name: a}',
      'error m.yaml:1:1: apiVersion: cilium.io/v3 is not a version of CiliumNetworkPolicy that Weir understands; write cilium.io/v2',
    ],
  ];
  for (const [name, text, expected] of cases) {
    test(name, () => {
      const { names, issues } = parse(text);
      assert.equal(issues.length, 1);
      assert.ok(issues[0]!.startsWith(expected), issues[0]);
      assert.deepEqual(names, []);
    });
  }

  test('an error in the second item of a list is placed in the list', () => {
    const { issues } = parse(`apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Pod
  metadata: {name: a}
- apiVersion: v1
  kind: Pod
  metadata:
    name: B
`);
    assert.match(issues[0]!, /^error m\.yaml:10:5: Pod B: metadata\.name/);
  });

  test('one bad document takes the whole file out', () => {
    assert.deepEqual(parse('apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\nkind: Pod\n').names, []);
  });

  test('unknown kinds are warnings and the rest counts', () => {
    const { names, issues } = parse(`apiVersion: apps/v1
kind: Deployment
metadata: {name: a}
---
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: a}
---
apiVersion: v1
kind: Pod
metadata: {name: a}
`);
    assert.deepEqual(names, ['v1 Pod default/a']);
    assert.deepEqual(issues, [
      'warning m.yaml:2:1: kind: kind Deployment of apps/v1 is not known to Weir and is ignored',
      'warning m.yaml:6:1: kind: kind Service of serving.knative.dev/v1 is not known to Weir and is ignored',
    ]);
  });
});

test('positions of fields, also of absent ones and of keys with dots', () => {
  const { resources } = parse(`---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: a, namespace: shop}
spec:
  endpointSelector:
    matchLabels:
      k8s:app.kubernetes.io/name: web
  ingress:
  - fromEndpoints: [{}]
    toPorts:
    - ports:
      - port: "80"
`);
  const at = (path: string): string => {
    const p = resources[0]!.positionOf!(path);
    return `${p?.file}:${p?.line}:${p?.column}`;
  };
  assert.equal(at('spec.ingress[0].toPorts[0].ports[0].port'), 'm.yaml:13:9');
  assert.equal(at('spec.ingress[0].fromEndpoints[0]'), 'm.yaml:10:21');
  assert.equal(at('spec.endpointSelector.matchLabels.k8s:app.kubernetes.io/name'), 'm.yaml:8:7');
  assert.equal(at('spec.endpointSelector.matchLabels["k8s:app.kubernetes.io/name"]'), 'm.yaml:8:7');
  assert.equal(at('spec.ingress[0].toPorts[0].rules.http'), 'm.yaml:12:7');
  assert.equal(at('spec.ingress[7]'), 'm.yaml:9:3');
});
