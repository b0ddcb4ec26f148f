/**
 * The rules that select one identity, resolved per direction to port filters: for every level, protocol and port, what is
 * said about each selector. Nothing here depends on which identities exist.
 */
import type { Direction } from '../model/mapstate.ts';
import { PROTOCOL, protocolName } from '../model/port.ts';
import {
  derivedPolicy,
  mergePeerPolicies,
  peerPolicy,
  withWildcard,
  type PeerPolicy,
  type StanzaSource,
} from './peerpolicy.ts';
import type { DefaultDeny } from './contract.ts';
import type { Scope } from './entry.ts';
import { drained, Pace } from './pace.ts';
import { MAX_LEVEL, TIER_BASE, TIER_INDEX } from './precedence.ts';
import type { L7Spec, PortSelector, Rule, RuleOrigin, Tier } from './rule.ts';
import { HOST, WILDCARD, type SelectorSpec, type StanzaSelectors } from './selector.ts';

/** One port of one level, and what is said there. */
export interface Filter {
  readonly level: number;
  /** Tiers are decided in this order; Pass goes on to the next (S38). */
  readonly tier: number;
  /** Rules of audited policies are apart from those that are enforced. */
  readonly scope: Scope;
  /** IANA number; 0 is every protocol, and then every port. */
  readonly protocol: number;
  /** 0 is every port, unless there is a name. */
  readonly port: number;
  readonly endPort: number;
  /** Resolved on the subject for ingress, on each destination for egress (S35). */
  readonly portName: string;
  readonly peers: Map<string, FilterPeer>;
}

export interface FilterPeer {
  readonly selector: SelectorSpec;
  readonly policy: PeerPolicy;
}

/** One direction of the policy of an identity. */
export interface DirectionPolicy {
  readonly direction: Direction;
  /** Whether what nothing allows is denied (S12). */
  readonly enforced: boolean;
  /** Why; undefined when it is not denied. */
  readonly defaultDeny: DefaultDeny | undefined;
  /** Rules that are audited: none of the above takes them into account. */
  readonly audited: readonly RuleOrigin[];
  readonly filters: readonly Filter[];
}

/** What of the subject decides about enforcement (S12, S14). */
export interface Subject {
  readonly isHost: boolean;
  readonly isInit: boolean;
  /** Empty when it has none. */
  readonly namespace: string;
}

/** Last of all, after the tiers: what no rule says but follows from them (S12, S14). */
const AFTER_TIERS = 3;
/** Protocol ANY in a port is these, never ICMP (S10). */
const PORT_PROTOCOLS: readonly number[] = [PROTOCOL.TCP, PROTOCOL.UDP, PROTOCOL.SCTP];
/** Units of the pace for what one stanza says of one peer and port, and for looking at a rule at all. */
const PEER_COST = 15;
const RULE_COST = 2;

/**
 * Resolves one direction, in slices of a few milliseconds.
 *
 * @param rules those that select the subject, in order of decision.
 * @throws WeirError POLICY_CONFLICT (S27)
 */
export function* resolvingDirection(
  direction: Direction,
  rules: readonly Rule[],
  subject: Subject,
  selectors: StanzaSelectors,
  pace: Pace,
): Generator<void, DirectionPolicy, void> {
  const { config } = selectors;
  const speaking = rules.filter((rule) => rule.selects[direction]);
  const always = config.enforcement === 'always' || subject.isInit;
  const never = config.enforcement === 'never' || (subject.isHost && !config.hostFirewall);
  if (never || (!always && speaking.length === 0)) return openDirection(direction);
  const enforcing = speaking.filter((rule) => rule.audited !== true);
  const deniers = enforcing.filter((rule) => rule.defaultDeny[direction]);
  const denying = deniers.length > 0;
  const builder = new FilterBuilder(direction, selectors, always || denying, subject.namespace);
  const levels = levelsOf(speaking);
  if (pace.due(RULE_COST * rules.length)) yield;
  for (const rule of speaking) yield* builder.addRule(rule, levels, pace);
  const localhost = direction === 'ingress' && config.allowLocalhost && !subject.isHost;
  const audited = speaking.length > enforcing.length;
  builder.addConsequences(enforcing, always, localhost, audited ? 'enforced' : 'both');
  if (audited) builder.addConsequences(speaking, always, localhost, 'audited');
  const origins = deniers.map(({ origin }) => origin);
  return {
    direction,
    enforced: always || enforcing.length > 0,
    defaultDeny: denying ? { origins } : always ? { origins, derivedFrom: whyAlways(subject) } : undefined,
    audited: speaking.filter((rule) => rule.audited).map(({ origin }) => origin),
    filters: builder.filters(),
  };
}

function whyAlways({ isInit }: Subject): string {
  return isInit ? 'reserved:init' : 'policy-enforcement=always';
}

/**
 * Resolves one direction in one go.
 *
 * @throws WeirError POLICY_CONFLICT (S27)
 */
export function resolveDirection(
  direction: Direction,
  rules: readonly Rule[],
  subject: Subject,
  selectors: StanzaSelectors,
): DirectionPolicy {
  return drained(resolvingDirection(direction, rules, subject, selectors, new Pace()));
}

/** Whether the rule may leave a decision to a later tier. */
function fallsThrough(rule: Rule): boolean {
  return rule.tier === 'baseline' || rule.stanzas.some(({ action }) => action === 'pass');
}

/** A direction in which everything is allowed. */
function openDirection(direction: Direction): DirectionPolicy {
  const peers = new Map([
    [WILDCARD.text, { selector: WILDCARD, policy: derivedPolicy('allow', `allow-any-${direction}`) }],
  ]);
  const port = { protocol: 0, port: 0, endPort: 0, portName: '' };
  const filter: Filter = { level: 0, tier: AFTER_TIERS, scope: 'both', ...port, peers };
  return { direction, enforced: false, defaultDeny: undefined, audited: [], filters: [filter] };
}

/** A level for every tier and priority, dense within each tier. */
function levelsOf(rules: readonly Rule[]): ReadonlyMap<string, number> {
  const levels = new Map<string, number>();
  const used: Record<Tier, number> = { admin: 0, normal: 0, baseline: 0 };
  // Rules come in order of decision.
  for (const rule of rules) {
    const place = placeOf(rule);
    if (!levels.has(place)) levels.set(place, TIER_BASE[rule.tier] + used[rule.tier]++);
  }
  return levels;
}

function placeOf({ tier, priority }: Rule): string {
  return `${tier}/${priority}`;
}

/** The default deny that a rule causes, as a stanza of it. */
function isolation({ origin, log }: Rule, direction: Direction): StanzaSource {
  return { stanza: { origin, direction, action: 'deny', peers: undefined, ports: undefined }, log };
}

type Place = Pick<Filter, 'level' | 'tier' | 'scope'>;

class FilterBuilder {
  readonly #direction: Direction;
  readonly #selectors: StanzaSelectors;
  readonly #defaultDeny: boolean;
  readonly #namespace: string;
  readonly #filters = new Map<string, Filter>();

  constructor(direction: Direction, selectors: StanzaSelectors, defaultDeny: boolean, namespace: string) {
    this.#namespace = namespace;
    this.#direction = direction;
    this.#selectors = selectors;
    this.#defaultDeny = defaultDeny;
  }

  filters(): readonly Filter[] {
    return [...this.#filters.values()];
  }

  *addRule(rule: Rule, levels: ReadonlyMap<string, number>, pace: Pace): Generator<void, void, void> {
    const place: Place = {
      level: levels.get(placeOf(rule))!,
      tier: TIER_INDEX[rule.tier],
      scope: rule.audited === true ? 'audited' : 'both',
    };
    for (const stanza of rule.stanzas) {
      if (stanza.direction === this.#direction) yield* this.#addStanza({ stanza, log: rule.log }, place, pace);
    }
  }

  /** What no rule says but follows from all of them (S12, S14). */
  addConsequences(rules: readonly Rule[], always: boolean, localhost: boolean, scope: Scope): void {
    const direction = this.#direction;
    const deniers = rules.filter((rule) => rule.defaultDeny[direction]);
    if (!always && deniers.length === 0) {
      this.#addDerived(MAX_LEVEL, scope, WILDCARD, derivedPolicy('allow', `allow-any-${direction}`));
    }
    // What isolates a pod denies last of all: what nobody else decided, the Baseline tier decides before it (S38). That of
    // audited rules is said in so many words, so that the report of it names them.
    const audited = deniers.filter((rule) => rule.audited).map((rule) => isolation(rule, direction));
    if (deniers.length > 0 && (audited.length > 0 || rules.some(fallsThrough))) {
      const policy = { ...derivedPolicy('deny', `deny-any-${direction}`), sources: audited };
      this.#addDerived(MAX_LEVEL - 1, scope, WILDCARD, policy);
    }
    if (localhost && rules.length > 0) {
      this.#addDerived(MAX_LEVEL - 2, scope, HOST, derivedPolicy('allow', 'allow-localhost-ingress'));
    }
  }

  #addDerived(level: number, scope: Scope, selector: SelectorSpec, policy: PeerPolicy): void {
    this.#add(this.#filter({ level, tier: AFTER_TIERS, scope }, 0, undefined), selector, policy);
  }

  *#addStanza(source: StanzaSource, place: Place, pace: Pace): Generator<void, void, void> {
    const { stanza } = source;
    const selectors = this.#selectors.of(stanza);
    if (selectors.length === 0) return;
    if (stanza.ports === undefined) {
      yield* this.#addPeers(
        this.#filter(place, 0, undefined),
        selectors,
        this.#said(source, place, 0, undefined),
        pace,
      );
    }
    for (const port of stanza.ports ?? []) {
      for (const protocol of port.protocol === 0 ? PORT_PROTOCOLS : [port.protocol]) {
        const policy = this.#said(source, place, protocol, port.l7);
        yield* this.#addPeers(this.#filter(place, protocol, port), selectors, policy, pace);
      }
    }
  }

  /** An audited rule sends nothing to a proxy and asks for no authentication: both would change what is enforced. */
  #said(source: StanzaSource, { scope }: Place, protocol: number, l7: L7Spec | undefined): PeerPolicy {
    if (scope === 'audited') return { ...peerPolicy(source, protocol, undefined, this.#namespace), auth: undefined };
    return this.#opened(peerPolicy(source, protocol, l7, this.#namespace));
  }

  /** Without default deny, layer 7 rules must not deny what no rule speaks about. */
  #opened(policy: PeerPolicy): PeerPolicy {
    if (this.#defaultDeny || policy.rules.length === 0) return policy;
    return { ...policy, rules: withWildcard(policy.parser, policy.rules) };
  }

  *#addPeers(
    filter: Filter,
    selectors: readonly SelectorSpec[],
    policy: PeerPolicy,
    pace: Pace,
  ): Generator<void, void, void> {
    for (const selector of selectors) {
      this.#add(filter, selector, policy);
      if (pace.due(PEER_COST)) yield;
    }
  }

  #add(filter: Filter, selector: SelectorSpec, policy: PeerPolicy): void {
    const present = filter.peers.get(selector.text);
    const merged =
      present === undefined ? policy : mergePeerPolicies(present.policy, policy, filterText(this.#direction, filter));
    filter.peers.set(selector.text, { selector, policy: merged });
  }

  #filter(place: Place, protocol: number, match: PortSelector | undefined): Filter {
    const {
      port = 0,
      endPort = 0,
      name: portName = '',
    } = { ...(match?.port as { port?: number; endPort?: number; name?: string } | undefined) };
    const key = `${place.level}/${place.scope}/${protocol}/${port}/${endPort}/${portName}`;
    let filter = this.#filters.get(key);
    if (filter === undefined) {
      filter = { ...place, protocol, port, endPort, portName, peers: new Map() };
      this.#filters.set(key, filter);
    }
    return filter;
  }
}

/** `ingress TCP/80`. */
function filterText(direction: Direction, { protocol, port, endPort, portName }: Filter): string {
  if (protocol === 0) return direction;
  const number = endPort > port ? `${port}-${endPort}` : String(port);
  return `${direction} ${protocolName(protocol)}/${portName === '' ? number : portName}`;
}
