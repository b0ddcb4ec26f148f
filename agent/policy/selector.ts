/**
 * Selectors in the form in which the cache evaluates them. Every peer of a rule becomes one or more of them; peers that
 * mean the same share one, whatever rule they stand in.
 */
import type { Cidr } from '../model/address.ts';
import { formatCidr } from '../model/address.ts';
import { LABEL } from '../model/labels.ts';
import type { PolicyConfig } from './config.ts';
import { prefixOfLabel } from './prefix.ts';
import type { EntityName, LabelSelector, PeerSelector, Requirement } from './rule.ts';

/** All parts must hold. */
export interface Term {
  readonly requirements: readonly Requirement[];
  /** The identity's prefix lies in each of these … */
  readonly cidrs: readonly Cidr[];
  /** … and in none of these (S21). */
  readonly except: readonly Cidr[];
}

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

const WILDCARD: SelectorSpec = { text: 'all', wildcard: true, terms: [] };
const WORLD_ENTITIES = ['reserved:world', 'reserved:world-ipv4', 'reserved:world-ipv6'];

/** Every endpoint carries the name of its cluster. */
const CLUSTER_LABEL = 'k8s:io.cilium.k8s.policy.cluster';
/** Label of an identity whose prefix a named CIDR group lists. */
const CIDR_GROUP_NAME = 'io.cilium.policy.cidrgroupname/';

/** The selectors of a stanza's peers; undefined peers are every peer (S15). */
export function selectorsOf(peers: readonly PeerSelector[] | undefined, config: PolicyConfig): readonly SelectorSpec[] {
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
      return [spec(just(exists(`fqdn:${name}`)))];
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

/** Requirements as a term; those on `cidr:` labels become prefixes, since a prefix also matches what lies in it (S21). */
export function labelTerm(requirements: readonly Requirement[]): Term {
  if (!requirements.some((r) => r.key.startsWith('cidr:'))) return { requirements, cidrs: [], except: [] };
  const rest: Requirement[] = [];
  const cidrs: Cidr[] = [];
  const except: Cidr[] = [];
  for (const requirement of requirements) {
    const [source, key] = splitKey(requirement.key);
    const prefix = source === 'cidr' ? prefixOfLabel({ source, key, value: '' }) : undefined;
    if (prefix === undefined) rest.push(requirement);
    else if (requirement.operator === 'In' || requirement.operator === 'Exists') cidrs.push(prefix);
    else except.push(prefix);
  }
  return { requirements: rest, cidrs, except };
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
      return [...CLUSTER_RESERVED, spec(just(equals(CLUSTER_LABEL, config.clusterName)))];
    case 'cluster-mesh':
      return [...CLUSTER_RESERVED, spec(just(exists(CLUSTER_LABEL)))];
    default:
      return [reserved(`reserved:${entity}`)];
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
].map((name) => reserved(`reserved:${name}`));

/** Reserved labels have no value, and users write them with an empty one. */
function reserved(key: string): SelectorSpec {
  return spec(just(equals(key, '')));
}

function cidrSelector(peer: Extract<PeerSelector, { kind: 'cidr' }>, config: PolicyConfig): SelectorSpec {
  const term = cidrTerm(peer.cidr, peer.except, config);
  return spec(peer.worldOnly === true ? { ...term, requirements: [...term.requirements, ...WORLD_ONLY] } : term);
}

/** A node or a pod that lies in the prefix is no world peer (S34). */
const WORLD_ONLY: readonly Requirement[] = ['reserved:host', 'reserved:remote-node', `k8s:${LABEL.podNamespace}`].map(
  (key) => ({ key, operator: 'DoesNotExist', values: [] }),
);

/** `/0` is all of the world, prefix or not (S21). Where a family is the only one, its world is just the world. */
function cidrTerm(cidr: Cidr, except: readonly Cidr[], config: PolicyConfig): Term {
  if (cidr.length > 0) return { requirements: [], cidrs: [cidr], except };
  const { family } = cidr.address;
  const [own, other] = family === 4 ? [config.enableIPv4, config.enableIPv6] : [config.enableIPv6, config.enableIPv4];
  const key = own && !other ? 'reserved:world' : `reserved:world-ipv${family}`;
  return { requirements: [equals(key, '')], cidrs: [], except };
}

/**
 * CIDR groups are labels of the identities in them. A selector of groups without a positive requirement selects all of
 * the world that lacks the labels, and never anything else.
 */
function groupSelector(peer: Extract<PeerSelector, { kind: 'cidrGroup' }>): SelectorSpec {
  const { group, except } = peer;
  if ('name' in group) return spec({ requirements: [exists(groupNameKey(group.name))], cidrs: [], except });
  // The peer takes a selector without requirements for everything, here as elsewhere.
  if (group.selector.requirements.length === 0) {
    return except.length === 0 ? WILDCARD : spec({ requirements: [], cidrs: [], except });
  }
  let alternatives: readonly (readonly Requirement[])[] = [[]];
  for (const requirement of group.selector.requirements) {
    const choices = groupRequirements(requirement);
    alternatives = alternatives.flatMap((before) => choices.map((choice) => [...before, ...choice]));
  }
  const positive = group.selector.requirements.some(({ operator }) => operator === 'In' || operator === 'Exists');
  const worlds = positive ? [[]] : WORLD_ENTITIES.map((world) => [equals(world, '')]);
  return spec(
    ...worlds.flatMap((world) =>
      alternatives.map((requirements) => ({ requirements: [...world, ...requirements], cidrs: [], except })),
    ),
  );
}

/** Key of the label that identities in a CIDR group of this name carry. */
export function groupNameKey(name: string): string {
  return `cidrgroup:${CIDR_GROUP_NAME}${name}`;
}

/**
 * A group's label `env: prod` is found on identities as the labels `cidrgroup:env` and `cidrgroup:env+prod`: they may lie
 * in several groups with different values of one label. Gives alternatives, each a list of which all must hold.
 */
function groupRequirements({ key, operator, values }: Requirement): readonly (readonly Requirement[])[] {
  const name = `cidrgroup:${splitKey(key)[1]}`;
  switch (operator) {
    case 'Exists':
      return [[exists(name)]];
    case 'DoesNotExist':
      return [[{ key: name, operator, values: [] }]];
    case 'In':
      return values.map((value) => [exists(`${name}+${value}`)]);
    case 'NotIn':
      return [values.map((value) => ({ key: `${name}+${value}`, operator: 'DoesNotExist' as const, values: [] }))];
  }
}

function just(requirement: Requirement): Term {
  return { requirements: [requirement], cidrs: [], except: [] };
}

function spec(...terms: readonly Term[]): SelectorSpec {
  return { text: terms.map(termText).join(' or '), wildcard: false, terms };
}

export function exists(key: string): Requirement {
  return { key, operator: 'Exists', values: [] };
}

function equals(key: string, value: string): Requirement {
  return { key, operator: 'In', values: [value] };
}

/** A selector as people read it. */
export function termText(term: Term): string {
  const parts = [
    ...term.cidrs.map(formatCidr),
    ...term.requirements.map(requirementText),
    ...(term.except.length === 0 ? [] : [`except ${term.except.map(formatCidr).join(', ')}`]),
  ];
  return parts.length === 0 ? 'all' : parts.join(' ');
}

/** A requirement as people read it. */
export function requirementText({ key, operator, values }: Requirement): string {
  if (operator === 'Exists') return key;
  if (operator === 'DoesNotExist') return `!${key}`;
  if (operator === 'In' && values.length === 1) return values[0] === '' ? `${key}=` : `${key}=${values[0]!}`;
  return `${key} ${operator} (${values.join(', ')})`;
}

/** Source and key of a requirement's key. */
export function splitKey(key: string): readonly [source: string, key: string] {
  const colon = key.indexOf(':');
  return colon < 0 ? ['any', key] : [key.slice(0, colon), key.slice(colon + 1)];
}
