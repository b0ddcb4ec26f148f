import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { LabelSelector, Rule, RuleStanza } from '../rule.ts';
import { decodePolicy, DEFAULT_DECODE_OPTIONS, type DecodeOptions } from './index.ts';

const NAMESPACE = 'k8s:io.kubernetes.pod.namespace';
const CLUSTER = 'k8s:io.cilium.k8s.policy.cluster In default';

function decode(spec: object, options: Partial<DecodeOptions> = {}, kind = 'CiliumNetworkPolicy') {
  const object = { apiVersion: 'cilium.io/v2', kind, metadata: { name: 'p', namespace: 'prod' }, spec };
  return decodePolicy(object, { ...DEFAULT_DECODE_OPTIONS, ...options });
}

function rule(spec: object, options: Partial<DecodeOptions> = {}, kind?: string): Rule {
  const { rules, errors } = decode({ endpointSelector: {}, ...spec }, options, kind);
  assert.equal(errors, undefined);
  return rules[0]!;
}

function stanza(spec: object, options: Partial<DecodeOptions> = {}, kind?: string): RuleStanza {
  return rule(spec, options, kind).stanzas[0]!;
}

/** `key operator values`, a line a requirement. */
function text({ requirements }: LabelSelector): string[] {
  return requirements.map(({ key, operator, values }) => [key, operator, ...values].join(' '));
}

function peerText(found: RuleStanza): string[][] {
  return (found.peers ?? []).map((peer) => {
    assert.ok(peer.kind === 'labels' || peer.kind === 'nodes');
    return text(peer.selector);
  });
}

function fields(spec: object, options: Partial<DecodeOptions> = {}, kind?: string): string[] {
  return (decode({ endpointSelector: {}, ...spec }, options, kind).errors ?? []).map(({ field }) => field);
}

describe('the annotation for an audit', () => {
  const annotated = (annotations: unknown) =>
    decodePolicy({
      ...{ apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', spec: { podSelector: {} } },
      metadata: { name: 'p', namespace: 'prod', annotations },
    });

  test('makes the rules of any kind audited ones, and false is as none', () => {
    const audited = (annotations: unknown) => annotated(annotations).rules!.map((rule) => rule.audited);
    assert.deepEqual(audited({ 'policy.weir.io/audit': 'true' }), [true]);
    assert.deepEqual(audited({ 'policy.weir.io/audit': 'false', other: 'true' }), [undefined]);
  });

  test('is not misunderstood: another value, or a name that is nearly right, rejects the policy', () => {
    const field = 'metadata.annotations["policy.weir.io/audit"]';
    for (const value of ['yes', '', true]) {
      const [issue] = annotated({ 'policy.weir.io/audit': value }).errors!;
      assert.deepEqual([issue!.field, issue!.remedy], [field, 'write "true" or "false", in quotes']);
    }
    const [issue] = annotated({ 'policy.weir.io/audited': 'true' }).errors!;
    assert.deepEqual([issue!.message, issue!.nearest], ['unknown annotation', 'policy.weir.io/audit']);
  });
});

describe('subjects (S18)', () => {
  test('lie in the namespace of the policy, whatever the selector says', () => {
    const { subject } = rule({
      endpointSelector: { matchLabels: { app: 'web', [NAMESPACE]: 'other' } },
      ingress: [{}],
    });
    assert.deepEqual(subject.kind, 'endpoint');
    assert.deepEqual(text(subject.selector), ['any:app In web', `${NAMESPACE} In prod`]);
  });

  test('of clusterwide policies lie anywhere, and may be nodes', () => {
    const kind = 'CiliumClusterwideNetworkPolicy';
    assert.deepEqual(text(rule({ ingress: [{}] }, {}, kind).subject.selector), []);
    const { rules } = decode({ nodeSelector: { matchLabels: { zone: 'a' } }, ingress: [{}] }, {}, kind);
    assert.equal(rules![0]!.subject.kind, 'node');
  });
});

describe('peers (S15 to S19)', () => {
  test('an empty stanza selects nobody; ports alone, everybody; an empty list, nobody whatever the ports', () => {
    const toPorts = [{ ports: [{ port: '80', protocol: 'TCP' }] }];
    assert.deepEqual(stanza({ ingress: [{}] }).peers, []);
    assert.deepEqual(stanza({ ingress: [{ toPorts }] }).peers, undefined);
    assert.deepEqual(stanza({ ingress: [{ fromEndpoints: [], toPorts }] }).peers, []);
    assert.deepEqual(stanza({ ingress: [{ fromEntities: ['all'] }] }).ports, undefined);
  });

  test('the empty selector means the own namespace, or every managed pod in a clusterwide policy', () => {
    const spec = { ingress: [{ fromEndpoints: [{}] }] };
    assert.deepEqual(peerText(stanza(spec)), [[CLUSTER, `${NAMESPACE} In prod`]]);
    assert.deepEqual(peerText(stanza(spec, {}, 'CiliumClusterwideNetworkPolicy')), [[CLUSTER, `${NAMESPACE} Exists`]]);
  });

  test('a selector that names a namespace, a label of one, or a reserved label keeps to what it says', () => {
    const selectors = [
      { matchLabels: { 'io.kubernetes.pod.namespace': 'dev' } },
      { matchLabels: { 'io.cilium.k8s.namespace.labels.team': 'a' } },
      { matchLabels: { 'reserved:host': '' } },
    ];
    assert.deepEqual(peerText(stanza({ ingress: [{ fromEndpoints: selectors }] })), [
      ['any:io.kubernetes.pod.namespace In dev', CLUSTER],
      ['any:io.cilium.k8s.namespace.labels.team In a', CLUSTER],
      ['reserved:host In '],
    ]);
  });

  test('all clusters count when the own one is not the default', () => {
    const spec = { ingress: [{ fromEndpoints: [{ matchLabels: { app: 'a' } }] }] };
    assert.deepEqual(peerText(stanza(spec, { defaultLocalCluster: false })), [
      ['any:app In a', `${NAMESPACE} In prod`],
    ]);
  });

  test('nodes carry the label that makes them nodes', () => {
    const found = stanza(
      { ingress: [{ fromNodes: [{ matchLabels: { 'node:zone': 'b' } }] }] },
      { nodeSelectorLabels: true },
    );
    assert.deepEqual(peerText(found), [[CLUSTER, 'node:zone In b', 'reserved:remote-node Exists']]);
  });

  test('every other kind', () => {
    const egress = [
      {
        toCIDRSet: [
          { cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] },
          { cidrGroupRef: 'g' },
          { cidrGroupSelector: { matchLabels: { a: 'b' } } },
        ],
      },
      { toFQDNs: [{ matchName: 'a.com' }, { matchPattern: '*.b.com' }] },
      { toServices: [{ k8sService: { serviceName: 's', namespace: 'n' } }] },
      { toGroups: [{ aws: { securityGroupsIds: ['sg-1'], labels: { k: 'v' } } }] },
    ];
    const kinds = rule({ egress }).stanzas.map(({ peers }) => peers!.map(({ kind }) => kind));
    assert.deepEqual(kinds, [['cidr', 'cidrGroup', 'cidrGroup'], ['fqdn', 'fqdn'], ['service'], ['awsGroup']]);
  });

  test('names on ingress: the node asks for them, so they are names and no patterns; no name can be denied', () => {
    const { peers } = stanza({ ingress: [{ fromFQDNs: [{ matchName: 'a.com' }] }] });
    assert.deepEqual(peers, [{ kind: 'fqdn', matchName: 'a.com' }]);
    assert.deepEqual(fields({ ingress: [{ fromFQDNs: [{ matchPattern: '*.a.com' }] }] }), [
      'spec.ingress[0].fromFQDNs[0].matchPattern',
    ]);
    assert.deepEqual(fields({ ingressDeny: [{ fromFQDNs: [{ matchName: 'a.com' }] }] }), [
      'spec.ingressDeny[0].fromFQDNs',
    ]);
  });
});

describe('ports', () => {
  const ports = (...items: object[]) => stanza({ ingress: [{ toPorts: [{ ports: items }] }] }).ports;

  test('numbers, ranges, names and zero', () => {
    assert.deepEqual(
      ports(
        { port: '80', protocol: 'TCP' },
        { port: '80', endPort: 90, protocol: 'udp' },
        { port: '90', endPort: 80 },
        { port: 'HTTP' },
        { port: '0', endPort: 100, protocol: 'SCTP' },
        { port: '010', protocol: 'TCP' },
      ),
      [
        { protocol: 6, port: { kind: 'number', port: 80, endPort: 80 } },
        { protocol: 17, port: { kind: 'number', port: 80, endPort: 90 } },
        { protocol: 0, port: { kind: 'number', port: 90, endPort: 90 } },
        { protocol: 0, port: { kind: 'named', name: 'http' } },
        { protocol: 132, port: { kind: 'any' } },
        { protocol: 6, port: { kind: 'number', port: 8, endPort: 8 } },
      ],
    );
  });

  test('an item without ports is no port at all', () =>
    assert.deepEqual(stanza({ ingress: [{ toPorts: [{}] }] }).ports, []));

  test('ICMP by number, text and name, in both families', () => {
    const icmps = [{ fields: [{ type: 8 }, { type: '0' }, { family: 'IPv6', type: 'EchoRequest' }] }];
    const types = stanza({ ingress: [{ icmps }] }).ports!.map(({ protocol, port }) => [
      protocol,
      port.kind === 'number' && port.port,
    ]);
    assert.deepEqual(types, [
      [1, 8],
      [1, 0],
      [58, 128],
    ]);
  });

  test('extended protocols have no ports and want their flag', () => {
    const spec = { ingress: [{ toPorts: [{ ports: [{ protocol: 'GRE' }] }] }] };
    assert.deepEqual(stanza(spec, { extendedIPProtocols: true }).ports, [{ protocol: 47, port: { kind: 'any' } }]);
    assert.ok(fields(spec).includes('spec.ingress[0].toPorts[0].ports[0].protocol'));
  });
});

describe('layer 7', () => {
  const l7 = (item: object) =>
    stanza({ egress: [{ toPorts: [{ ports: [{ port: '443', protocol: 'TCP' }], ...item }] }] }).ports![0]!.l7;
  const secret = { name: 's' };

  test('the parser follows from what is given', () => {
    assert.equal(l7({ rules: { http: [{ method: 'GET' }] } })?.parser, 'http');
    assert.equal(l7({ rules: { dns: [{ matchPattern: '*' }] } })?.parser, 'dns');
    assert.equal(l7({ serverNames: ['a.com'] })?.parser, 'tls');
    assert.equal(l7({ terminatingTLS: { secret }, rules: { http: [{}] } })?.parser, 'http');
    assert.equal(l7({ rules: { http: [] } }), undefined);
  });

  test('a listener is named with the configuration it lies in', () => {
    const listener = (kind?: string) => ({
      listener: { envoyConfig: { ...(kind === undefined ? {} : { kind }), name: 'c' }, name: 'l', priority: 7 },
    });
    assert.deepEqual(l7(listener())?.listener, { config: 'prod/c', name: 'l', priority: 7 });
    assert.equal(l7(listener('CiliumClusterwideEnvoyConfig'))?.listener?.config, '/c');
  });
});

describe('default deny (S13)', () => {
  test('follows the stanzas, and can be turned off for each direction', () => {
    assert.deepEqual(rule({ ingress: [{}] }).defaultDeny, { ingress: true, egress: false });
    const off = { ingress: [{}], egressDeny: [{}], enableDefaultDeny: { ingress: false } };
    assert.deepEqual(rule(off).defaultDeny, { ingress: false, egress: true });
    assert.deepEqual(rule(off).selects, { ingress: true, egress: true });
    assert.deepEqual(rule(off, { nonDefaultDenyPolicies: false }).defaultDeny, { ingress: true, egress: true });
  });
});

describe('refusals (S36) name the field', () => {
  const tcp = { ports: [{ port: '80', protocol: 'TCP' }] };
  const http = { ...tcp, rules: { http: [{}] } };
  const cases: readonly (readonly [string, object, string, (Partial<DecodeOptions> | undefined)?, string?])[] = [
    ['no stanza', { ingress: [] }, 'spec'],
    ['two kinds of peers', { ingress: [{ fromEndpoints: [{}], fromCIDR: ['10.0.0.0/8'] }] }, 'spec.ingress[0].fromCIDR'],
    ['DNS on ingress', { ingress: [{ toPorts: [{ ports: [{ port: '53', protocol: 'UDP' }], rules: { dns: [{ matchName: 'a' }] } }] }] }, 'spec.ingress[0].toPorts[0].rules.dns'],
    ['DNS on a range', { egress: [{ toPorts: [{ ports: [{ port: '53', endPort: 54 }], rules: { dns: [{ matchName: 'a' }] } }] }] }, 'spec.egress[0].toPorts[0].ports[0].endPort'],
    ['HTTP on UDP', { ingress: [{ toPorts: [{ ports: [{ port: '80', protocol: 'UDP' }], rules: { http: [{}] } }] }] }, 'spec.ingress[0].toPorts[0].ports[0].protocol'],
    ['HTTP on port 0', { ingress: [{ toPorts: [{ ports: [{ port: '0', protocol: 'TCP' }], rules: { http: [{}] } }] }] }, 'spec.ingress[0].toPorts[0].ports[0].port'],
    ['layer 7 without proxy', { ingress: [{ toPorts: [http] }] }, 'spec.ingress[0].toPorts[0].rules', { l7Proxy: false }],
    ['icmps with toPorts', { ingress: [{ toPorts: [tcp], icmps: [{ fields: [{ type: 8 }] }] }] }, 'spec.ingress[0].icmps'],
    ['icmps without their flag', { ingress: [{ icmps: [{ fields: [{ type: 8 }] }] }] }, 'spec.ingress[0].icmps', { icmpRules: false }],
    ['a listener on ingress', { ingress: [{ toPorts: [{ ...tcp, listener: { name: 'l', envoyConfig: { name: 'c' } } }] }] }, 'spec.ingress[0].toPorts[0].listener'],
    ['an except outside', { egress: [{ toCIDRSet: [{ cidr: '10.0.0.0/8', except: ['11.0.0.0/16'] }] }] }, 'spec.egress[0].toCIDRSet[0].cidr'],
    ['a name and a pattern', { egress: [{ toFQDNs: [{ matchName: 'a', matchPattern: 'b' }] }] }, 'spec.egress[0].toFQDNs[0].matchPattern'],
    ['nodes without their flag', { ingress: [{ fromNodes: [{}] }] }, 'spec.ingress[0].fromNodes'],
    ['a bad expression', { ingress: [{ toPorts: [{ ...tcp, rules: { http: [{ path: '(?=a)' }] } }] }] }, 'spec.ingress[0].toPorts[0].rules.http[0].path'],
    ['a nameless header', { ingress: [{ toPorts: [{ ...tcp, rules: { http: [{ headerMatches: [{ value: 'x' }] }] } }] }] }, 'spec.ingress[0].toPorts[0].rules.http[0].headerMatches[0].name'],
    ['a secret without name', { ingress: [{ toPorts: [{ ...tcp, terminatingTLS: { secret: {} } }] }] }, 'spec.ingress[0].toPorts[0].terminatingTLS.secret'],
    ['an empty server name', { egress: [{ toPorts: [{ ...tcp, serverNames: [''] }] }] }, 'spec.egress[0].toPorts[0].serverNames[0]'],
    ['an unknown mode', { ingress: [{ fromEndpoints: [{}], authentication: { mode: 'mtls' } }] }, 'spec.ingress[0].authentication.mode'],
    ['layer 7 in a deny', { ingressDeny: [{ toPorts: [http] }] }, 'spec.ingressDeny[0].toPorts[0].rules'],
    ['names in a deny', { egressDeny: [{ toFQDNs: [{ matchName: 'a' }] }] }, 'spec.egressDeny[0].toFQDNs'],
    ['a requirement', { egress: [{ toRequires: [{}] }] }, 'spec.egress[0].toRequires'],
    ['a null subject', { endpointSelector: null, ingress: [{}] }, 'spec.endpointSelector'],
    ['a key with a dot', { endpointSelector: { matchLabels: { 'a.b/c d': 'x' } }, ingress: [{}] }, 'spec.endpointSelector.matchLabels["a.b/c d"]'],
  ]; // prettier-ignore
  for (const [name, spec, field, options] of cases) {
    test(name, () => assert.ok(fields(spec, options).includes(field), fields(spec, options).join(', ')));
  }

  test('all at once', () => {
    const found = fields({ bogus: 1, ingress: [{ fromEntities: ['x', 'y'] }], egress: [{ toCIDR: ['a'] }] });
    assert.deepEqual(found.toSorted(), [
      'spec.bogus',
      'spec.egress[0].toCIDR[0]',
      'spec.ingress[0].fromEntities[0]',
      'spec.ingress[0].fromEntities[1]',
    ]);
  });

  test('on the host', () => {
    const kind = 'CiliumClusterwideNetworkPolicy';
    const host = (spec: object) =>
      (decode({ nodeSelector: {}, ...spec }, {}, kind).errors ?? []).map(({ field }) => field);
    assert.deepEqual(host({ ingress: [{ toPorts: [http] }] }), ['spec.ingress[0].toPorts[0].rules']);
    assert.deepEqual(host({ egress: [{ toPorts: [http] }] }), ['spec.egress[0].toPorts[0].rules.http']);
    assert.deepEqual(fields({ nodeSelector: {}, ingress: [{}] }), ['spec.nodeSelector', 'spec.nodeSelector']);
  });
});

test('specs give a rule each, and origins name their stanza', () => {
  const specs = [1, 2].map(() => ({
    endpointSelector: {},
    egress: [{ toEntities: ['world'] }],
    labels: ['team=a'],
    log: { value: 'v' },
  }));
  const object = { apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: { name: 'p', uid: 'u' }, specs };
  const { rules = [] } = decodePolicy(object);
  assert.deepEqual(
    rules.map(({ stanzas }) => stanzas[0]!.origin.path),
    ['specs[0].egress[0]', 'specs[1].egress[0]'],
  );
  assert.deepEqual(rules[0]!.origin, {
    kind: 'CiliumNetworkPolicy',
    namespace: 'default',
    name: 'p',
    uid: 'u',
    path: 'specs[0]',
  });
  assert.deepEqual(rules[0]!.labels, [{ source: 'unspec', key: 'team', value: 'a' }]);
  assert.equal(rules[0]!.log, 'v');
});
