import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodePolicy, DEFAULT_DECODE_OPTIONS } from './index.ts';

/** One object of each kind that has every field. */
const SELECTOR = { matchLabels: { app: 'a' }, matchExpressions: [{ key: 'k', operator: 'In', values: ['v'] }] };
const L7 = {
  rules: { http: [{ method: 'GET', path: '/a', host: 'h', headers: ['x'], headerMatches: [{ name: 'n', value: 'v', mismatch: 'LOG', secret: { name: 's' } }] }], dns: [{ matchName: 'a', matchPattern: '*' }] },
  listener: { envoyConfig: { kind: 'CiliumEnvoyConfig', name: 'c' }, name: 'l', priority: 1 },
  terminatingTLS: { secret: { name: 's', namespace: 'n' }, trustedCA: 'a', certificate: 'b', privateKey: 'c' },
  originatingTLS: { secret: { name: 's' } },
  serverNames: ['a.com'],
}; // prettier-ignore
const PEERS = (side: string) => ({
  [`${side}Endpoints`]: [SELECTOR],
  [`${side}Nodes`]: [SELECTOR],
  [`${side}Entities`]: ['world'],
  [`${side}CIDR`]: ['10.0.0.0/8'],
  [`${side}CIDRSet`]: [
    { cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] },
    { cidrGroupRef: 'g' },
    { cidrGroupSelector: SELECTOR },
  ],
  [`${side}Groups`]: [
    { aws: { labels: { a: 'b' }, region: 'r', securityGroupsIds: ['s'], securityGroupsNames: ['n'] } },
  ],
  toServices: [{ k8sService: { serviceName: 's', namespace: 'n' } }, { k8sServiceSelector: { selector: SELECTOR } }],
  toFQDNs: [{ matchName: 'a.com' }, { matchPattern: '*' }],
  toPorts: [{ ports: [{ port: '80', endPort: 90, protocol: 'TCP' }], ...L7 }],
  icmps: [{ fields: [{ family: 'IPv6', type: 'EchoRequest' }, { type: 8 }] }],
  authentication: { mode: 'required' },
});
const SPEC = {
  endpointSelector: SELECTOR,
  nodeSelector: SELECTOR,
  ingress: [PEERS('from')],
  ingressDeny: [PEERS('from')],
  egress: [PEERS('to')],
  egressDeny: [PEERS('to')],
  enableDefaultDeny: { ingress: true, egress: false },
  labels: ['a=b', { key: 'k', value: 'v', source: 's' }],
  log: { value: 'v' },
  description: 'd',
};
const KNP_RULE = (side: string) => ({
  [side]: [
    { podSelector: SELECTOR, namespaceSelector: SELECTOR },
    { ipBlock: { cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] } },
  ],
  ports: [{ protocol: 'TCP', port: 80, endPort: 90 }, { port: 'http' }],
});
const CLUSTER_RULE = (side: string) => ({
  name: 'r',
  action: 'Accept',
  [side]: [{ namespaces: SELECTOR }, { pods: { namespaceSelector: SELECTOR, podSelector: SELECTOR } }, { nodes: SELECTOR }, { networks: ['10.0.0.0/8'] }, { domainNames: ['*.a.com'] }],
  protocols: [{ tcp: { destinationPort: { number: 80 } } }, { udp: { destinationPort: { range: { start: 1, end: 2 } } } }, { destinationNamedPort: 'http' }],
}); // prettier-ignore
const metadata = { name: 'p', namespace: 'n', uid: 'u' };
const OBJECTS: readonly object[] = [
  { apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata, spec: SPEC, specs: [SPEC] },
  { apiVersion: 'cilium.io/v2', kind: 'CiliumClusterwideNetworkPolicy', metadata, spec: SPEC },
  {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata,
    spec: { podSelector: SELECTOR, policyTypes: ['Ingress'], ingress: [KNP_RULE('from')], egress: [KNP_RULE('to')] },
  },
  {
    apiVersion: 'policy.networking.k8s.io/v1alpha2',
    kind: 'ClusterNetworkPolicy',
    metadata,
    spec: { tier: 'Admin', priority: 1, subject: { namespaces: SELECTOR }, ingress: [CLUSTER_RULE('from')], egress: [CLUSTER_RULE('to')] },
  },
]; // prettier-ignore

/** Replaces, one after the other, the nodes that `choices` lead to. */
function mutate(object: unknown, choices: readonly { readonly at: number; readonly value: unknown }[]): unknown {
  const copy: unknown = structuredClone(object);
  for (const { at, value } of choices) {
    const slots: (() => void)[] = [];
    collect(copy, value, slots);
    if (slots.length > 0) slots[at % slots.length]!();
  }
  return copy;
}

function collect(node: unknown, value: unknown, slots: (() => void)[]): void {
  if (typeof node !== 'object' || node === null) return;
  const target = node as Record<string, unknown>;
  for (const key of Object.keys(target)) {
    slots.push(() => void (target[key] = structuredClone(value)));
    collect(target[key], value, slots);
  }
}

const odd = fc.oneof(
  fc.constantFrom(null, true, 0, -1, 1.5, 2 ** 40, '', '*', '__proto__', 'constructor', [], {}, [null], [[]], {
    '': '',
  }),
  fc.jsonValue({ maxDepth: 2 }),
);

test('whatever stands where in an object, the answer is rules or issues that name a field', () => {
  const mutations = fc.array(fc.record({ at: fc.nat(), value: odd }), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(
      fc.constantFrom(...OBJECTS),
      mutations,
      fc.constantFrom('enforce', 'ignore'),
      (object, choices, schema) => {
        const result = decodePolicy(mutate(object, choices), {
          ...DEFAULT_DECODE_OPTIONS,
          schema: schema as 'enforce',
        });
        if (result.errors === undefined) return;
        for (const { message, remedy } of result.errors) assert.ok(message !== '' && remedy !== '');
      },
    ),
    { numRuns: 600 },
  );
});

test('anything at all is refused politely', () => {
  fc.assert(
    fc.property(fc.anything(), (value) => decodePolicy(value).rules === undefined || typeof value === 'object'),
  );
});
