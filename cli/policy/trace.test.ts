import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { WeirError } from '../../agent/model/errors.ts';
import { describeTrace, trace, type TraceRequest } from './trace.ts';

const POD = (name: string, namespace: string, labels: string, more = '') => `apiVersion: v1
kind: Pod
metadata: { name: ${name}, namespace: ${namespace}, labels: { ${labels} } }
spec: { containers: [{ name: c, ports: [{ name: sql, containerPort: 5432 }] }] }
${more}`;

const CLUSTER = [
  POD('web', 'shop', 'app: web', 'status: { podIP: 10.0.0.1 }'),
  POD('api', 'shop', 'app: api', 'status: { podIP: 10.0.0.2 }'),
  POD('db', 'shop', 'app: db', 'status: { podIP: 10.0.0.3 }'),
].join('\n---\n');

const POLICIES = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: isolate, namespace: shop }
spec: { podSelector: {}, policyTypes: [Ingress] }
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: db, namespace: shop }
spec:
  endpointSelector: { matchLabels: { app: db } }
  ingress:
    - fromEndpoints: [{ matchLabels: { app: api } }]
      toPorts: [{ ports: [{ port: "5432", protocol: TCP }] }]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: no-mail, namespace: shop }
spec:
  endpointSelector: {}
  enableDefaultDeny: { egress: false }
  egressDeny:
    - toPorts: [{ ports: [{ port: "25" }] }]
`;

function ask(source: string, destination: string, port: string, policies = POLICIES) {
  const files = [
    { file: 'cluster.yaml', text: CLUSTER },
    { file: 'policies.yaml', text: policies },
  ];
  return trace(files, { source, destination, port } satisfies TraceRequest);
}

describe('weir policy trace', () => {
  test('names the policies that cause the default deny, the rule that came nearest, and what would change it', () => {
    const text = describeTrace(ask('shop/web', 'shop/db', '5432'), false);
    assert.match(text, /^DENIED: shop\/web -> shop\/db TCP\/5432\n/);
    assert.match(text, /egress policy of shop\/web: ALLOWED/);
    assert.match(text, /deny by default:\n {4}.*shop\/(?:db|isolate)\n {4}.*shop\/(?:db|isolate)\n/);
    assert.match(text, /nearest is CiliumNetworkPolicy shop\/db spec\.ingress\[0\]/);
    assert.ok(text.split('\n').length <= 24, 'fits a screen');
  });

  test('judges both ends', () => {
    const denied = ask('shop/api', 'shop/db', '25');
    assert.equal(denied.allowed, false);
    assert.deepEqual([denied.egress?.verdict, denied.ingress?.verdict], ['deny', 'default-deny']);
    const allowed = ask('shop/api', 'shop/db', 'sql');
    assert.equal(allowed.allowed, true);
    assert.equal(allowed.port.port, 5432);
    assert.match(describeTrace(allowed, false), /^ALLOWED/);
  });

  test('knows pods by address, and leaves the outside to the end that is ours', () => {
    assert.equal(ask('10.0.0.2', '10.0.0.3', '5432/tcp').allowed, true);
    const out = ask('shop/web', '203.0.113.7', '25/TCP');
    assert.equal(out.ingress, undefined);
    assert.equal(out.egress?.verdict, 'deny');
    assert.match(describeTrace(ask('world', 'remote-node', '80'), false), /no policy decides/);
  });

  test('shows every rule when asked to', () => {
    const found = ask('shop/web', 'shop/db', '5432');
    assert.ok(describeTrace(found, true).length > describeTrace(found, false).length);
  });

  const refusals = [
    [['shop/nobody', 'shop/db', '80'], /nobody is called.*pods are shop\/web/s],
    [['shop/web', '10.0.0.300', '80'], /is not an IP address/],
    [['app=web', 'shop/db', '80'], /namespace=NAME/],
    [['shop/web', 'shop/db', 'http'], /no port of the destination/],
  ] as const;
  for (const [[source, destination, port], expected] of refusals) {
    test(`refuses ${source} ${destination} ${port}`, () => {
      assert.throws(
        () => ask(source, destination, port),
        (error) => error instanceof WeirError && expected.test(error.describe()),
      );
    });
  }

  test('decides nothing on policies that are not valid', () => {
    const broken = POLICIES.replace('podSelector', 'podSelecter');
    assert.throws(() => ask('shop/web', 'shop/db', '80', broken), /unknown field/);
  });
});
