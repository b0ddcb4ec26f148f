/**
 * Selectors in the form in which the cache evaluates them. Every peer of a rule becomes one or more of them; peers that
 * mean the same share one, whatever rule they stand in.
 */
import type { Cidr } from '../model/address.ts';
import { LABEL } from '../model/labels.ts';
import type { PolicyConfig } from './config.ts';
import type { EntityName, LabelSelector, PeerSelector, Requirement, RuleStanza } from './rule.ts';
import { absent, equals, exists, isPositive, labelTerm, term, termText, testOf, type Term, type Test } from './term.ts';

/** A peer that depends on objects which come and go; the cache gives it terms (S24). */
export type DynamicPeer = Extract<PeerSelector, { kind: 'service' }>;

export interface SelectorSpec {
  /** Equal for equal selectors; also how people see it. */
  readonly text: string;
  /** Selects every peer, known or not: identity 0 of the map. */
  readonly wildcard: boolean;
  readonly terms: readonly Term[];
  readonly dynamic?: DynamicPeer;
}

/** Every peer. */
export const WILDCARD: SelectorSpec = { text: 'all', wildcard: true, terms: [] };
/** The node itself. */
export const HOST: SelectorSpec = reserved('host');
const WORLD_ENTITIES = ['world', 'world-ipv4', 'world-ipv6'];

/** Label of an identity whose prefix a named CIDR group lists. */
const CIDR_GROUP_NAME = 'io.cilium.policy.cidrgroupname/';

/** Gives the selectors of stanzas, and makes them once: a rule is resolved for every identity that it selects. */
export class StanzaSelectors {
  readonly config: PolicyConfig;
  readonly #known = new WeakMap<RuleStanza, readonly SelectorSpec[]>();

  constructor(config: PolicyConfig) {
    this.config = config;
  }

  of(stanza: RuleStanza): readonly SelectorSpec[] {
    let selectors = this.#known.get(stanza);
    if (selectors === undefined) this.#known.set(stanza, (selectors = selectorsOf(stanza.peers, this.config)));
    return selectors;
  }
}

/** The selectors of a stanza's peers; undefined peers are every peer (S15). */
function selectorsOf(peers: readonly PeerSelector[] | undefined, config: PolicyConfig): readonly SelectorSpec[] {
  if (peers === undefined) return [WILDCARD];
  return peers.flatMap((peer) => selectorsOfPeer(peer, config));
}

function selectorsOfPeer(peer: PeerSelector, config: PolicyConfig): readonly SelectorSpec[] {
  switch (peer.kind) {
    case 'labels':
      return [labelSelector(peer.selector)];
    case 'nodes':
      return [labelSelector(peer.selector)];
    case 'entity':
      return entitySelectors(peer.entity, config);
    case 'cidr':
      return [cidrSelector(peer, config)];
    case 'cidrGroup':
      return [groupSelector(peer)];
    case 'fqdn': {
      const name = peer.matchName ?? peer.matchPattern ?? '';
      return [spec(term([exists('fqdn', name)]))];
    }
    case 'service':
      return [{ text: `service ${JSON.stringify(peer.service)}`, wildcard: false, terms: [], dynamic: peer }];
    case 'awsGroup': {
      const name = cloudGroupName(peer.group);
      return [groupSelector({ kind: 'cidrGroup', group: { name }, except: [] })];
    }
  }
}

/** Name of the CIDR group that a resolver fills for a cloud provider's group. */
export function cloudGroupName(group: Readonly<Record<string, unknown>>): string {
  return `aws:${canonicalJson(group)}`;
}

function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${fields.map(([key, item]) => `${JSON.stringify(key)}:${canonicalJson(item)}`).join(',')}}`;
}

function labelSelector(selector: LabelSelector): SelectorSpec {
  if (selector.requirements.length === 0) return WILDCARD;
  return spec(labelTerm(selector.requirements));
}

function entitySelectors(entity: EntityName, config: PolicyConfig): readonly SelectorSpec[] {
  switch (entity) {
    case 'all':
      return [WILDCARD];
    case 'none':
      return [];
    case 'world':
      return WORLD_ENTITIES.map(reserved);
    case 'cluster':
      return [...CLUSTER_RESERVED, spec(term([equals('k8s', LABEL.cluster, config.clusterName)]))];
    case 'cluster-mesh':
      return [...CLUSTER_RESERVED, spec(term([exists('k8s', LABEL.cluster)]))];
    default:
      return [reserved(entity)];
  }
}

/** Reserved identities that belong to every cluster (S23). */
const CLUSTER_RESERVED: readonly SelectorSpec[] = [
  'host',
  'remote-node',
  'init',
  'ingress',
  'health',
  'unmanaged',
  'kube-apiserver',
].map(reserved);

/** Reserved labels have no value, and users write them with an empty one. */
function reserved(name: string): SelectorSpec {
  return spec(term([equals('reserved', name, '')]));
}

function cidrSelector(peer: Extract<PeerSelector, { kind: 'cidr' }>, config: PolicyConfig): SelectorSpec {
  const { tests, cidrs, except } = cidrTerm(peer.cidr, peer.except, config);
  return spec(term(peer.worldOnly === true ? [...tests, ...WORLD_ONLY] : tests, cidrs, except));
}

/** A node or a pod that lies in the prefix is no world peer (S34). */
const WORLD_ONLY: readonly Test[] = [
  absent('reserved', 'host'),
  absent('reserved', 'remote-node'),
  absent('k8s', LABEL.podNamespace),
];

/** `/0` is all of the world, prefix or not (S21). Where a family is the only one, its world is just the world. */
function cidrTerm(cidr: Cidr, except: readonly Cidr[], config: PolicyConfig): Term {
  if (cidr.length > 0) return term([], [cidr], except);
  const { family } = cidr.address;
  const [own, other] = family === 4 ? [config.enableIPv4, config.enableIPv6] : [config.enableIPv6, config.enableIPv4];
  const world = own && !other ? 'world' : `world-ipv${family}`;
  return term([equals('reserved', world, '')], [], except);
}

/**
 * CIDR groups are labels of the identities in them. A selector of groups without a positive requirement selects all of
 * the world that lacks the labels, and never anything else.
 */
function groupSelector(peer: Extract<PeerSelector, { kind: 'cidrGroup' }>): SelectorSpec {
  const { group, except } = peer;
  if ('name' in group) return spec(term([exists('cidrgroup', groupNameKey(group.name))], [], except));
  // The peer takes a selector without requirements for everything, here as elsewhere.
  const { requirements } = group.selector;
  if (requirements.length === 0) return except.length === 0 ? WILDCARD : spec(term([], [], except));
  let alternatives: readonly (readonly Test[])[] = [[]];
  for (const requirement of requirements) {
    const choices = groupTests(requirement);
    alternatives = alternatives.flatMap((before) => choices.map((choice) => [...before, ...choice]));
  }
  const positive = requirements.map(testOf).some(isPositive);
  const worlds = positive ? [[]] : WORLD_ENTITIES.map((world) => [equals('reserved', world, '')]);
  return spec(...worlds.flatMap((world) => alternatives.map((tests) => term([...world, ...tests], [], except))));
}

/** Key of the label that identities in a CIDR group of this name carry. */
export function groupNameKey(name: string): string {
  return `${CIDR_GROUP_NAME}${name}`;
}

/**
 * A group's label `env: prod` is found on identities as the labels `cidrgroup:env` and `cidrgroup:env+prod`: they may lie
 * in several groups with different values of one label. Gives alternatives, each a list of which all must hold.
 */
function groupTests(requirement: Requirement): readonly (readonly Test[])[] {
  const { key, operator, values } = testOf(requirement);
  switch (operator) {
    case 'Exists':
      return [[exists('cidrgroup', key)]];
    case 'DoesNotExist':
      return [[absent('cidrgroup', key)]];
    case 'In':
      return values.map((value) => [exists('cidrgroup', `${key}+${value}`)]);
    case 'NotIn':
      return [values.map((value) => absent('cidrgroup', `${key}+${value}`))];
  }
}

function spec(...terms: readonly Term[]): SelectorSpec {
  return { text: terms.map(termText).join(' or '), wildcard: false, terms };
}
