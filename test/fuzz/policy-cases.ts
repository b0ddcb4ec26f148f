/** Random histories of a policy engine: rules of every kind, identities, groups, services and ports that come and go. */
import { parseCidr } from '../../agent/model/address.ts';
import { identityId, type Identity } from '../../agent/model/identity.ts';
import { canonicalLabels, parseLabel } from '../../agent/model/labels.ts';
import type { Direction } from '../../agent/model/mapstate.ts';
import type { PolicyConfig } from '../../agent/policy/config.ts';
import { DEFAULT_POLICY_CONFIG } from '../../agent/policy/config.ts';
import type { NamedPort, PolicyBatch } from '../../agent/policy/contract.ts';
import type {
  EntityName,
  L7Spec,
  LabelSelector,
  PeerSelector,
  PortSelector,
  Requirement,
  Rule,
  RuleStanza,
  Tier,
} from '../../agent/policy/rule.ts';
import type { Random } from './random.ts';

/** One history, as plain data. */
export interface PolicyCase {
  readonly config: PolicyConfig;
  /** Identities of local endpoints: they are there from the start and stay. */
  readonly subjects: readonly Identity[];
  readonly subjectPorts: readonly NamedPort[];
  /** Batches, one after the other. */
  readonly steps: readonly PolicyBatch[];
  /** How many slices the refresh gets after each batch. */
  readonly turns: readonly number[];
  /** How much work a slice is. */
  readonly slice: number;
  /** Packets whose verdicts are explained at the end. */
  readonly probes: readonly Probe[];
}

export interface Probe {
  readonly direction: Direction;
  readonly peer: number;
  readonly protocol: number;
  readonly port: number;
}

const KEYS = ['app', 'tier', 'env'];
const VALUES = ['a', 'b', 'c'];
const NAMESPACES = ['x', 'y'];
const CIDRS = [
  '10.0.0.0/8',
  '10.1.0.0/16',
  '10.1.2.0/24',
  '10.1.2.3/32',
  '192.168.0.0/16',
  '2001:db8::/32',
  'fd00::/8',
];
const NAMES = ['one.example.com', 'two.example.com'];
const PORT_NAMES = ['http', 'dns'];
const PORTS = [53, 80, 81, 443, 8080];
const PROTOCOLS = [6, 17, 132, 0, 1];
const ENTITIES: readonly EntityName[] = [
  'all',
  'world',
  'world-ipv4',
  'cluster',
  'host',
  'remote-node',
  'init',
  'none',
];
const GROUPS = ['g', 'h'];
const LISTENERS = ['l', 'm'];

export function policyCase(random: Random): PolicyCase {
  const config: PolicyConfig = {
    ...DEFAULT_POLICY_CONFIG,
    enforcement: random.pick(['default', 'default', 'default', 'always']),
    allowLocalhost: random.chance(0.8),
    hostFirewall: random.chance(0.5),
    cidrMatchMode: random.chance(0.1) ? ['nodes'] : [],
  };
  const subjects = random.list(1, 2, (i) => ({ id: identityId(1000 + i), labels: podLabels(random) }));
  if (random.chance(0.15)) subjects.push({ id: identityId(1), labels: reserved('host') });
  const steps = random.list(2, 7, (i) => (i === 0 ? firstStep(random, subjects) : step(random)));
  const turns = steps.map(() => random.below(6));
  const made = {
    config,
    turns,
    subjects,
    subjectPorts: namedPorts(random),
    steps,
    probes: random.list(60, 60, () => probe(random)),
    slice: random.pick([1, 20, 100, 400]),
  };
  // Chosen last, so that seeds that found something before there were audited policies still mean the same.
  return random.chance(0.5) ? { ...made, steps: steps.map((batch) => auditing(random, batch)) } : made;
}

/** The batch with some of its policies audited. */
function auditing(random: Random, batch: PolicyBatch): PolicyBatch {
  const { policies } = batch;
  if (policies === undefined) return batch;
  return {
    ...batch,
    policies: policies.map(({ key, rules }) => {
      const audited = random.chance(0.4);
      return { key, rules: audited ? rules?.map((one) => ({ ...one, audited })) : rules };
    }),
  };
}

function probe(random: Random): Probe {
  const [protocol, port] = random.pick(PROBE_PORTS);
  return { direction: random.pick(['ingress', 'egress']), peer: random.pick(PROBE_IDENTITIES), protocol, port };
}

/** Peers to ask about: all that a case may know, and one that it never does. */
export const PROBE_IDENTITIES: readonly number[] = [
  ...[1, 2, 5, 6, 9, 10, 1000, 1001],
  ...Array.from({ length: 6 }, (_, i) => 2000 + i),
  ...Array.from({ length: 5 }, (_, i) => 16777217 + i),
  4242,
];
export const PROBE_PORTS: readonly (readonly [protocol: number, port: number])[] = [
  ...[6, 17, 132].flatMap((protocol) => [...PORTS, 1, 82, 9999].map((port) => [protocol, port] as const)),
  [1, 8],
  [1, 80],
  [58, 128],
];

function firstStep(random: Random, subjects: readonly Identity[]): PolicyBatch {
  const world = ['host', 'world', 'init', 'remote-node', 'world-ipv4', 'world-ipv6'];
  const ids = [1, 2, 5, 6, 9, 10];
  return {
    ...step(random),
    identities: [
      ...world.map((name, i) => ({ id: identityId(ids[i]!), labels: reserved(name) })),
      ...subjects,
      ...random.list(0, 6, () => peer(random)),
    ],
    policies: random.list(1, 4, () => policy(random)),
  };
}

function step(random: Random): PolicyBatch {
  return {
    ...(random.chance(0.5) ? { policies: random.list(1, 2, () => policy(random)) } : {}),
    ...(random.chance(0.7) ? { identities: random.list(1, 4, () => peer(random)) } : {}),
    ...(random.chance(0.4) ? { removedIdentities: random.list(1, 3, () => peer(random).id) } : {}),
    ...(random.chance(0.3)
      ? { namedPorts: random.list(1, 3, () => ({ identity: peer(random).id, ports: namedPorts(random) })) }
      : {}),
    ...(random.chance(0.3) ? { cidrGroups: [cidrGroup(random)] } : {}),
    ...(random.chance(0.5) ? { services: random.list(1, 2, () => service(random)) } : {}),
  };
}

function peer(random: Random): Identity {
  if (random.chance(0.6)) return { id: identityId(2000 + random.below(6)), labels: podLabels(random) };
  const id = identityId(16777217 + random.below(5));
  if (random.chance(0.2))
    return { id, labels: canonicalLabels([...reserved('world-ipv4'), parseLabel(`fqdn:${random.pick(NAMES)}`)]) };
  const cidr = random.pick(CIDRS);
  const world = random.chance(0.1) ? 'remote-node' : cidr.includes(':') ? 'world-ipv6' : 'world-ipv4';
  const label = { source: 'cidr', key: cidr.replaceAll(':', '-').replace('--/', '--0/'), value: '' };
  return { id, labels: canonicalLabels([...reserved(world), label]) };
}

function reserved(name: string): Identity['labels'] {
  return [{ source: 'reserved', key: name, value: '' }];
}

function podLabels(random: Random): Identity['labels'] {
  return canonicalLabels([
    ...KEYS.filter(() => random.chance(0.7)).map((key) => ({ source: 'k8s', key, value: random.pick(VALUES) })),
    { source: 'k8s', key: 'io.kubernetes.pod.namespace', value: random.pick(NAMESPACES) },
    { source: 'k8s', key: 'io.cilium.k8s.policy.cluster', value: 'default' },
  ]);
}

function namedPorts(random: Random): readonly NamedPort[] {
  return random.list(0, 2, () => ({
    name: random.pick(PORT_NAMES),
    port: random.pick(PORTS),
    protocol: random.pick([6, 17, 0]),
  }));
}

function cidrGroup(random: Random): NonNullable<PolicyBatch['cidrGroups']>[number] {
  const name = random.pick(GROUPS);
  if (random.chance(0.2)) return { name, group: undefined };
  const labels = random.list(0, 1, () => ({ source: 'k8s', key: 'env', value: random.pick(VALUES) }));
  return { name, group: { name, labels, cidrs: random.list(0, 3, () => parseCidr(random.pick(CIDRS))) } };
}

function service(random: Random): NonNullable<PolicyBatch['services']>[number] {
  const [namespace, name] = [random.pick(NAMESPACES), random.pick(['s', 't'])];
  if (random.chance(0.2)) return { namespace, name, service: undefined };
  const backends = [parseCidr('10.1.2.3/32').address];
  const selector = random.chance(0.5) ? { selector: labelSelector(random, 1) } : {};
  return { namespace, name, service: { namespace, name, labels: [], backends, ...selector } };
}

function policy(random: Random): NonNullable<PolicyBatch['policies']>[number] {
  const key = `p${random.below(5)}`;
  return { key, rules: random.chance(0.15) ? undefined : random.list(1, 2, (i) => rule(random, key, i)) };
}

function rule(random: Random, name: string, index: number): Rule {
  const tier: Tier = random.pick(['normal', 'normal', 'admin', 'baseline']);
  const kind = tier === 'normal' ? 'CiliumNetworkPolicy' : 'ClusterNetworkPolicy';
  const origin = { kind, namespace: '', name, uid: '', path: `specs[${index}]` } as const;
  const stanzas = random.list(0, 3, (i) => stanza(random, tier, { ...origin, path: `specs[${index}].rules[${i}]` }));
  const selects = { ingress: stanzas.some(isIngress), egress: stanzas.some((s) => !isIngress(s)) };
  const deny = (on: boolean): boolean => on && tier === 'normal' && random.chance(0.7);
  return {
    origin,
    tier,
    priority: tier === 'normal' ? 0 : random.below(3),
    subject: {
      kind: random.chance(0.1) ? 'node' : 'endpoint',
      selector: random.chance(0.7) ? { requirements: [] } : labelSelector(random, 1),
    },
    stanzas,
    defaultDeny: { ingress: deny(selects.ingress), egress: deny(selects.egress) },
    selects,
  };
}

function isIngress({ direction }: RuleStanza): boolean {
  return direction === 'ingress';
}

function stanza(random: Random, tier: Tier, origin: RuleStanza['origin']): RuleStanza {
  const action =
    tier === 'normal'
      ? random.pick(['allow', 'allow', 'deny'] as const)
      : random.pick(['allow', 'deny', 'pass'] as const);
  return {
    origin,
    direction: random.pick(['ingress', 'egress']),
    action,
    peers: random.chance(0.2) ? undefined : random.list(0, 2, () => peerSelector(random)),
    ports: random.chance(0.3)
      ? undefined
      : random.list(1, 2, () => portSelector(random, action === 'allow' && tier === 'normal')),
    ...(action === 'allow' && random.chance(0.15)
      ? { auth: random.pick(['required', 'disabled', 'test-always-fail'] as const) }
      : {}),
  };
}

function peerSelector(random: Random): PeerSelector {
  const kinds = ['labels', 'labels', 'labels', 'entity', 'cidr', 'cidrGroup', 'fqdn', 'service', 'service'] as const;
  const except = random.list(0, 1, () => parseCidr(random.pick(CIDRS)));
  switch (random.pick(kinds)) {
    case 'labels':
      return { kind: 'labels', selector: labelSelector(random, 2) };
    case 'entity':
      return { kind: 'entity', entity: random.pick(ENTITIES) };
    case 'cidr':
      return {
        kind: 'cidr',
        cidr: parseCidr(random.pick([...CIDRS, '0.0.0.0/0'])),
        except,
        ...(random.chance(0.3) ? { worldOnly: true } : {}),
      };
    case 'cidrGroup':
      return {
        kind: 'cidrGroup',
        group: random.chance(0.5) ? { name: random.pick(GROUPS) } : { selector: labelSelector(random, 1, 'env') },
        except,
      };
    case 'fqdn':
      return { kind: 'fqdn', matchName: random.pick(NAMES) };
    case 'service':
      return { kind: 'service', service: { namespace: random.pick(NAMESPACES), name: random.pick(['s', 't']) } };
  }
}

function labelSelector(random: Random, most: number, key?: string): LabelSelector {
  return { requirements: random.list(1, most, () => requirement(random, key)) };
}

function requirement(random: Random, key = random.pick(KEYS)): Requirement {
  const operator = random.pick(['In', 'In', 'In', 'NotIn', 'Exists', 'DoesNotExist'] as const);
  const values =
    operator === 'In' || operator === 'NotIn' ? [...new Set(random.list(1, 2, () => random.pick(VALUES)))].sort() : [];
  return { key: `${random.pick(['any', 'k8s'])}:${key}`, operator, values };
}

function portSelector(random: Random, mayRedirect: boolean): PortSelector {
  const protocol = random.pick(PROTOCOLS);
  const port = random.pick(PORTS);
  const match = random.pick([
    { kind: 'any' },
    { kind: 'number', port, endPort: port },
    { kind: 'number', port, endPort: port },
    { kind: 'number', port, endPort: port + random.below(400) },
    { kind: 'named', name: random.pick(PORT_NAMES) },
  ] as const);
  if (!mayRedirect || match.kind === 'any' || protocol === 1 || !random.chance(0.25)) return { protocol, port: match };
  return { protocol, port: match, l7: l7(random) };
}

function l7(random: Random): L7Spec {
  const parser = random.pick(['http', 'dns', 'tls', 'crd']);
  if (parser === 'crd') {
    return { parser, rules: [], listener: { config: '/c', name: random.pick(LISTENERS), priority: random.below(3) } };
  }
  if (parser === 'tls') return { parser, rules: [], serverNames: ['a.example.com'] };
  return { parser, rules: [parser === 'dns' ? { matchPattern: '*' } : { method: random.pick(['GET', 'PUT']) }] };
}
