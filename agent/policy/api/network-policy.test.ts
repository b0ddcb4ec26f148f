import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { formatCidr } from '../../model/address.ts';
import type { Rule } from '../rule.ts';
import { decodePolicy, DEFAULT_DECODE_OPTIONS } from './index.ts';

function decode(spec: object) {
  return decodePolicy({ apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: { name: 'p' }, spec });
}

function rule(spec: object): Rule {
  const { rules, errors } = decode({ podSelector: {}, ...spec });
  assert.equal(errors, undefined);
  return rules[0]!;
}

describe('directions (S33)', () => {
  const cases = [
    [{}, { ingress: true, egress: false }],
    [{ policyTypes: ['Egress'] }, { ingress: false, egress: true }],
    [{ policyTypes: ['Ingress', 'Egress'] }, { ingress: true, egress: true }],
    [{ egress: [{}] }, { ingress: true, egress: true }],
    [{ policyTypes: [] }, { ingress: true, egress: false }],
  ] as const;
  for (const [spec, expected] of cases) {
    test(JSON.stringify(spec), () => {
      assert.deepEqual(rule(spec).defaultDeny, expected);
      assert.deepEqual(rule(spec).selects, expected);
    });
  }
});

describe('peers (S32, S34)', () => {
  test('an empty rule allows everything, unlike in Cilium kinds (S16)', () => {
    const [found] = rule({ ingress: [{}] }).stanzas;
    assert.deepEqual([found!.peers, found!.ports], [undefined, undefined]);
  });

  test('pods of the own namespace, of selected namespaces, of all', () => {
    const from = [
      { podSelector: { matchLabels: { app: 'a' } } },
      { namespaceSelector: { matchLabels: { team: 'x' } }, podSelector: { matchLabels: { app: 'a' } } },
      { namespaceSelector: {} },
    ];
    const keys = rule({ ingress: [{ from }] }).stanzas[0]!.peers!.map((peer) =>
      peer.kind === 'labels' ? peer.selector.requirements.map(({ key, operator }) => `${key} ${operator}`) : [],
    );
    const cluster = 'k8s:io.cilium.k8s.policy.cluster In';
    assert.deepEqual(keys, [
      ['k8s:app In', cluster, 'k8s:io.kubernetes.pod.namespace In'],
      ['k8s:app In', 'k8s:io.cilium.k8s.namespace.labels.team In', cluster],
      [cluster, 'k8s:io.kubernetes.pod.namespace Exists'],
    ]);
  });

  test('blocks with exceptions', () => {
    const to = [{ ipBlock: { cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] } }];
    const [peer] = rule({ egress: [{ to }] }).stanzas[0]!.peers!;
    assert.ok(peer?.kind === 'cidr');
    assert.deepEqual([peer.cidr, ...peer.except].map(formatCidr), ['10.0.0.0/8', '10.1.0.0/16']);
  });
});

test('ports default to TCP, and may be absent, named or ranges', () => {
  const ports = [{ port: 80 }, { protocol: 'UDP' }, { port: 'web' }, { port: 80, endPort: 90, protocol: 'SCTP' }];
  assert.deepEqual(rule({ ingress: [{ ports }] }).stanzas[0]!.ports, [
    { protocol: 6, port: { kind: 'number', port: 80, endPort: 80 } },
    { protocol: 17, port: { kind: 'any' } },
    { protocol: 6, port: { kind: 'named', name: 'web' } },
    { protocol: 132, port: { kind: 'number', port: 80, endPort: 90 } },
  ]);
});

describe('refusals name the field', () => {
  const cases = [
    ['a selector beside a block', { ingress: [{ from: [{ ipBlock: { cidr: '10.0.0.0/8' }, podSelector: {} }] }] }, 'spec.ingress[0].from[0].ipBlock'],
    ['an empty peer', { ingress: [{ from: [{}] }] }, 'spec.ingress[0].from[0]'],
    ['a range that runs backwards', { ingress: [{ ports: [{ port: 90, endPort: 80 }] }] }, 'spec.ingress[0].ports[0].endPort'],
    ['a range from a name', { ingress: [{ ports: [{ port: 'web', endPort: 80 }] }] }, 'spec.ingress[0].ports[0].endPort'],
    ['a range from nowhere', { ingress: [{ ports: [{ endPort: 80 }] }] }, 'spec.ingress[0].ports[0].port'],
    ['an unknown type', { policyTypes: ['ingress'] }, 'spec.policyTypes[0]'],
    ['a bad block', { egress: [{ to: [{ ipBlock: { cidr: '10.0.0.0' } }] }] }, 'spec.egress[0].to[0].ipBlock.cidr'],
    ['a field of another kind', { egress: [{ toPorts: [] }] }, 'spec.egress[0].toPorts'],
  ] as const; // prettier-ignore
  for (const [name, spec, field] of cases) {
    test(name, () => {
      const { errors = [] } = decode({ podSelector: {}, ...spec });
      assert.deepEqual(
        errors.map((error) => error.field),
        [field],
      );
    });
  }
});

describe('ClusterNetworkPolicy (S38)', () => {
  function cluster(spec: object, options = DEFAULT_DECODE_OPTIONS) {
    const object = {
      apiVersion: 'policy.networking.k8s.io/v1alpha2',
      kind: 'ClusterNetworkPolicy',
      metadata: { name: 'p' },
      spec: { tier: 'Admin', priority: 10, subject: { namespaces: {} }, ...spec },
    };
    return decodePolicy(object, options);
  }

  test('each rule is a rule of its own, ranked by its place', () => {
    const { rules = [] } = cluster({
      ingress: [
        { name: 'a', action: 'Deny', from: [{ namespaces: {} }] },
        { name: 'b', action: 'Pass', from: [{ pods: { namespaceSelector: {}, podSelector: {} } }] },
      ],
      egress: [{ name: 'c', action: 'Accept', to: [{ networks: ['10.0.0.0/8', '::/0'] }], protocols: [{ tcp: { destinationPort: { range: { start: 1, end: 9 } } } }] }],
    }); // prettier-ignore
    assert.deepEqual(
      rules.map(({ tier, priority, stanzas }) => [tier, priority, stanzas[0]!.direction, stanzas[0]!.action]),
      [
        ['admin', 10, 'ingress', 'deny'],
        ['admin', 10.01, 'ingress', 'pass'],
        ['admin', 10, 'egress', 'allow'],
      ],
    );
    assert.deepEqual(rules[2]!.stanzas[0]!.ports, [{ protocol: 6, port: { kind: 'number', port: 1, endPort: 9 } }]);
    assert.deepEqual(rules[2]!.defaultDeny, { ingress: false, egress: false });
  });

  test('names bring their DNS along, and a star means any depth', () => {
    const { rules = [] } = cluster({ egress: [{ action: 'Accept', to: [{ domainNames: ['*.a.com', 'b.com'] }] }] });
    const [dns, names] = rules[0]!.stanzas;
    assert.deepEqual(names!.peers, [
      { kind: 'fqdn', matchPattern: '**.a.com' },
      { kind: 'fqdn', matchName: 'b.com' },
    ]);
    assert.deepEqual(
      dns!.ports!.map(({ port }) => port.kind === 'named' && port.name),
      ['dns', 'dns-tcp'],
    );
    assert.equal(dns!.ports![0]!.l7?.parser, 'dns');
  });

  test('a peer nobody understands accepts nothing and denies everything', () => {
    const lenient = { ...DEFAULT_DECODE_OPTIONS, schema: 'ignore' as const };
    const future = [{ somethingNew: {} }];
    const accept = cluster({ ingress: [{ action: 'Accept', from: future }] }, lenient).rules![0]!;
    assert.deepEqual(
      accept.stanzas.map(({ action, peers }) => [action, peers]),
      [['allow', []]],
    );
    const pass = cluster({ ingress: [{ action: 'Pass', from: future }] }, lenient).rules![0]!;
    assert.deepEqual(pass.stanzas.at(-1)!.action, 'deny');
    assert.equal(pass.stanzas.at(-1)!.peers, undefined);
  });

  test('refusals name the field', () => {
    const found = cluster({
      tier: 'admin',
      priority: 1001,
      subject: {},
      egress: [
        { action: 'Deny', to: [{ domainNames: ['a.com'] }] },
        { action: 'Allow', to: [{ nodes: {} }] },
      ],
    });
    assert.deepEqual(found.errors!.map(({ field }) => field).toSorted(), [
      'spec.egress[0].to[0].domainNames',
      'spec.egress[1].action',
      'spec.egress[1].to[0].nodes',
      'spec.priority',
      'spec.subject',
      'spec.tier',
    ]);
  });
});
