/**
 * Why a packet is allowed or denied: every rule that was considered and which dimension of it failed or matched, what
 * causes the default deny, the nearest allowance and the smallest change that would turn the verdict around.
 *
 * The verdict is worked out anew from the rules themselves, without the tables that the kernel gets: a property test
 * holds both to the same result.
 */
import type { Identity } from '../model/identity.ts';
import type { Direction } from '../model/mapstate.ts';
import { protocolName } from '../model/port.ts';
import type { NamedPort } from './contract.ts';
import { decide, mergeKeys } from './decision.ts';
import { AUTH_TYPE, type Entry, type Item } from './entry.ts';
import type { IdentityRecord } from './identities.ts';
import { resolveDirection, type Filter } from './l4policy.ts';
import type { PeerPolicy } from './peerpolicy.ts';
import { entryOf, itemsOf, portsByName, portsOf, redirectOf } from './items.ts';
import { keyCovers, portKey } from './ports.ts';
import { subjectOf } from './repository.ts';
import type { PortSelector, Rule, RuleOrigin, RuleStanza } from './rule.ts';
import type { SelectorSpec, StanzaSelectors } from './selector.ts';
import { inPrefixes, labelTerm, meets, selects, term, termText, testText, type Term } from './term.ts';

/** A packet as policies see it, from the subject's side. */
export interface Question {
  readonly direction: Direction;
  /** Whose policy decides. */
  readonly subject: Identity;
  /** The other end. */
  readonly peer: Identity;
  readonly protocol: number;
  /** Destination port, or type for ICMP. */
  readonly port: number;
  readonly subjectPorts: readonly NamedPort[];
  readonly peerPorts: readonly NamedPort[];
}

/** One dimension of a rule against the packet. */
export interface Dimension {
  readonly matched: boolean;
  /** What the rule wants, and where that fails, what there is. */
  readonly text: string;
  /** How many requirements fail: 0 when it matched. */
  readonly distance: number;
}

/** What a stanza had to do with the decision. */
export type Role =
  /** Decided, alone or with others. */
  | 'decides'
  /** Matched, but something stronger decided. */
  | 'outranked'
  /** Matched and left the decision to the next tier. */
  | 'passes'
  /** Matched, but its policy is audited: it decides nothing. */
  | 'audited'
  | 'no match';

export interface ConsideredStanza {
  readonly origin: RuleOrigin;
  readonly action: RuleStanza['action'];
  /** Of a policy that is audited, not enforced. */
  readonly audited: boolean;
  readonly subject: Dimension;
  readonly peer: Dimension;
  readonly port: Dimension;
  /** What the proxy is told, when the stanza has layer 7 rules. */
  readonly l7: string | undefined;
  readonly role: Role;
}

export interface Explanation {
  readonly question: Question;
  readonly verdict: 'allow' | 'deny' | 'default-deny';
  readonly redirect: string | undefined;
  readonly auth: 'disabled' | 'required' | 'test-always-fail' | undefined;
  readonly enforced: boolean;
  /** What audited policies would do to a packet that is allowed; undefined when they would allow it too. */
  readonly audited: AuditedDenial | undefined;
  /** Set when no rule decided: `allow-any-ingress`, `allow-localhost-ingress`, `deny-any-egress` … */
  readonly derivedFrom: string | undefined;
  /** Rules that turn on the default deny of this direction. */
  readonly defaultDeny: readonly RuleOrigin[];
  /** Stanzas of the direction, those that select the subject first. */
  readonly considered: readonly ConsideredStanza[];
  /** The stanza that would allow with the least change, when the packet is denied. */
  readonly nearest: ConsideredStanza | undefined;
}

/** A denial by policies that are audited, not enforced. */
export interface AuditedDenial {
  readonly verdict: 'deny' | 'default-deny';
  /** The rules that would deny, or turn on the default deny. */
  readonly origins: readonly RuleOrigin[];
}

/** What the engine lends for an explanation. */
export interface ExplainParts {
  readonly selectors: StanzaSelectors;
  readonly rules: Iterable<Rule>;
  /** Rules that select the subject, in order of decision. */
  readonly selecting: readonly Rule[];
  readonly subject: IdentityRecord;
  readonly peer: IdentityRecord;
  /** The present meaning of selectors that depend on services. */
  readonly terms: (selector: SelectorSpec) => readonly Term[];
}

/**
 * Explains a verdict.
 *
 * @throws WeirError POLICY_CONFLICT when the rules contradict each other (S27).
 */
export function explain(question: Question, parts: ExplainParts): Explanation {
  const { direction } = question;
  const rules = parts.selectors.config.enforcement === 'never' ? [] : parts.selecting;
  const policy = resolveDirection(direction, rules, subjectOf(parts.subject), parts.selectors);
  const all = matchingItems(policy.filters, question, parts);
  const matching = all.filter(({ scope }) => scope !== 'audited');
  const entry = decision(matching);
  const deciding = matching.filter((item) => entry !== undefined && decidesWith(item, entry));
  const roles = rolesOf(all, matching, deciding);
  const considered = consideredStanzas(question, parts, roles);
  const verdict = entry === undefined ? 'default-deny' : entry.verdict === 'deny' ? 'deny' : 'allow';
  return {
    question,
    verdict,
    redirect: entry?.redirect?.parser,
    auth: authOf(entry),
    enforced: policy.enforced,
    audited: verdict === 'allow' ? auditedDenial(all) : undefined,
    derivedFrom: deciding.find(({ policy: { derivedFrom } }) => derivedFrom !== undefined)?.policy.derivedFrom,
    defaultDeny: rules.filter((rule) => rule.defaultDeny[direction] && !rule.audited).map(({ origin }) => origin),
    considered,
    nearest: verdict === 'allow' ? undefined : nearestAllow(considered),
  };
}

/** What the items decide together; undefined when nothing does. */
function decision(matching: readonly MatchingItem[]): Entry | undefined {
  const merged = (specific: boolean): readonly Item[] =>
    mergeKeys(
      matching.filter((item) => item.specific === specific),
      (cookie) => cookie,
    );
  return decide(merged(true), merged(false));
}

/** What would be decided if audited policies were enforced, should that be a denial. */
function auditedDenial(all: readonly MatchingItem[]): AuditedDenial | undefined {
  if (all.every(({ scope }) => scope === 'both')) return undefined;
  const matching = all.filter(({ scope }) => scope !== 'enforced');
  const entry = decision(matching);
  if (entry?.verdict === 'allow') return undefined;
  const denying = matching.filter((item) => entry !== undefined && decidesWith(item, entry));
  // Whoever passes a decision on is behind what comes of it.
  const passing = matching.filter((item) => item.scope === 'audited' && item.entry.verdict === 'pass');
  const isRule = denying.some(({ policy: { derivedFrom } }) => derivedFrom === undefined);
  return {
    verdict: isRule ? 'deny' : 'default-deny',
    origins: [...denying, ...passing].flatMap((item) => item.policy.sources.map(({ stanza }) => stanza.origin)),
  };
}

interface MatchingItem extends Item {
  readonly specific: boolean;
  readonly policy: PeerPolicy;
}

/** The items that match the packet: of filters whose selectors select the peer and whose ports cover the port. */
function matchingItems(filters: readonly Filter[], question: Question, parts: ExplainParts): readonly MatchingItem[] {
  const { direction, protocol, port } = question;
  const key = portKey(protocol, port, 16);
  const named = direction === 'ingress' ? question.subjectPorts : question.peerPorts;
  const out: MatchingItem[] = [];
  for (const filter of filters) {
    const ranges = portsOf(filter, named);
    for (const { selector, policy } of filter.peers.values()) {
      if (!selector.wildcard && !parts.terms(selector).some((term) => selects(term, parts.peer))) continue;
      // Names of egress ports mean a number for each destination, so that the rule is about just that one.
      const specific = !selector.wildcard || (filter.portName !== '' && direction === 'egress');
      for (const range of ranges) {
        const redirect = policy.parser === '' ? undefined : redirectOf(direction, filter.protocol, range.port, policy);
        const items = itemsOf(filter, range, entryOf(filter.level, policy, redirect, 0));
        out.push(...items.filter((item) => keyCovers(item.key, key)).map((item) => ({ ...item, specific, policy })));
      }
    }
  }
  return out;
}

function decidesWith({ entry }: MatchingItem, decided: Entry): boolean {
  return entry.precedence === decided.precedence && entry.verdict === decided.verdict;
}

function rolesOf(
  all: readonly MatchingItem[],
  matching: readonly MatchingItem[],
  deciding: readonly MatchingItem[],
): ReadonlyMap<RuleStanza, Role> {
  const roles = new Map<RuleStanza, Role>();
  const give = (items: readonly MatchingItem[], role: (item: MatchingItem) => Role): void => {
    for (const item of items) for (const { stanza } of item.policy.sources) roles.set(stanza, role(item));
  };
  give(all, () => 'audited');
  give(matching, ({ entry }) => (entry.verdict === 'pass' ? 'passes' : 'outranked'));
  give(deciding, () => 'decides');
  return roles;
}

function authOf(entry: Entry | undefined): Explanation['auth'] {
  if (entry?.verdict !== 'allow') return undefined;
  if (entry.authType === AUTH_TYPE.required) return 'required';
  if (entry.authType === AUTH_TYPE['test-always-fail']) return 'test-always-fail';
  return entry.authExplicit ? 'disabled' : undefined;
}

function consideredStanzas(
  question: Question,
  parts: ExplainParts,
  roles: ReadonlyMap<RuleStanza, Role>,
): readonly ConsideredStanza[] {
  const out: ConsideredStanza[] = [];
  for (const rule of parts.rules) {
    const subject = subjectDimension(rule, parts.subject);
    for (const stanza of rule.stanzas) {
      if (stanza.direction !== question.direction) continue;
      const peer = peerDimension(stanza, parts);
      const port = portDimension(stanza, question);
      const matched = subject.matched && peer.matched && port.matched;
      out.push({
        origin: stanza.origin,
        action: stanza.action,
        audited: rule.audited === true,
        subject,
        peer,
        port,
        l7: matched ? l7Text(stanza, question) : undefined,
        // A stanza may match by itself and still have been merged away by a denial beside it.
        role: roles.get(stanza) ?? (matched ? (rule.audited === true ? 'audited' : 'outranked') : 'no match'),
      });
    }
  }
  const rank = ({ subject, role }: ConsideredStanza): number => (subject.matched ? 0 : 10) + ROLE_RANK[role];
  return out.sort((a, b) => rank(a) - rank(b));
}

const ROLE_RANK: Readonly<Record<Role, number>> = { decides: 0, passes: 1, outranked: 2, audited: 3, 'no match': 4 };

function subjectDimension({ subject }: Rule, record: IdentityRecord): Dimension {
  const isHost = record.labels.some(({ source, key }) => source === 'reserved' && key === 'host');
  if ((subject.kind === 'node') !== isHost) {
    const text = subject.kind === 'node' ? 'is about nodes' : 'is about pods, not nodes';
    return { matched: false, text, distance: 10 };
  }
  return termDimension([labelTerm(subject.selector.requirements)], record);
}

function peerDimension(stanza: RuleStanza, parts: ExplainParts): Dimension {
  const selectors = parts.selectors.of(stanza);
  if (selectors.some(({ wildcard }) => wildcard)) return { matched: true, text: 'all', distance: 0 };
  if (selectors.length === 0) return { matched: false, text: 'selects nothing', distance: 10 };
  return termDimension(selectors.flatMap(parts.terms), parts.peer);
}

/** The term that selects the record, or the one that comes nearest. */
function termDimension(terms: readonly Term[], record: IdentityRecord): Dimension {
  const dimensions = terms.map((term) => oneTerm(term, record)).sort((a, b) => a.distance - b.distance);
  return dimensions[0] ?? { matched: false, text: 'selects nothing at present', distance: 10 };
}

function oneTerm(wanted: Term, record: IdentityRecord): Dimension {
  if (selects(wanted, record)) return { matched: true, text: termText(wanted), distance: 0 };
  const missed = wanted.tests
    .filter((test) => !meets(record.labels, test))
    .map((test) => `${testText(test)} (has ${haveText(test.key, record)})`);
  const prefix = inPrefixes(record, wanted) ? [] : [`prefix ${termText(term([], wanted.cidrs, wanted.except))}`];
  return { matched: false, text: [...missed, ...prefix].join(', '), distance: missed.length + prefix.length };
}

function haveText(key: string, { labels }: IdentityRecord): string {
  const values = labels
    .filter((label) => label.key === key)
    .map(({ value }) => (value === '' ? 'it without value' : value));
  return values.length === 0 ? 'none' : values.join(', ');
}

function portDimension({ ports }: RuleStanza, question: Question): Dimension {
  if (ports === undefined) return { matched: true, text: 'every port', distance: 0 };
  if (ports.length === 0) return { matched: false, text: 'no port at all', distance: 1 };
  const matched = ports.some((port) => portMatches(port, question));
  const found = ports.find((port) => portMatches(port, question));
  const text = (found === undefined ? ports : [found]).map(portText).join(', ');
  return { matched, text, distance: matched ? 0 : 1 };
}

function portMatches({ protocol, port }: PortSelector, question: Question): boolean {
  const protocols = protocol === 0 ? [6, 17, 132] : [protocol];
  if (!protocols.includes(question.protocol)) return false;
  if (port.kind === 'any') return true;
  if (port.kind === 'number') {
    return question.port >= port.port && question.port <= Math.max(port.endPort, port.port);
  }
  const named = question.direction === 'ingress' ? question.subjectPorts : question.peerPorts;
  return portsByName(named, port.name, question.protocol).includes(question.port);
}

function portText({ protocol, port }: PortSelector): string {
  const name = protocol === 0 ? 'ANY' : protocolName(protocol);
  if (port.kind === 'any') return name;
  if (port.kind === 'named') return `${name}/${port.name}`;
  return port.endPort > port.port ? `${name}/${port.port}-${port.endPort}` : `${name}/${port.port}`;
}

function l7Text({ ports = [] }: RuleStanza, question: Question): string | undefined {
  const l7 = ports.find((port) => port.l7 !== undefined && portMatches(port, question))?.l7;
  if (l7 === undefined) return undefined;
  const rules = l7.rules.map((rule) => JSON.stringify(rule)).join(' or ');
  const listener = l7.listener === undefined ? '' : ` ${l7.listener.config}/${l7.listener.name}`;
  return `${l7.parser}${listener}${rules === '' ? '' : `: ${rules}`}`;
}

/** Of the allowances in force that do not match, the one with the fewest failing requirements. */
function nearestAllow(considered: readonly ConsideredStanza[]): ConsideredStanza | undefined {
  // Another subject is farther away than another peer: it would be a rule about something else.
  const distance = ({ subject, peer, port }: ConsideredStanza): number =>
    subject.distance * 4 + peer.distance * 2 + port.distance;
  return considered
    .filter(({ action, role, audited }) => action === 'allow' && role === 'no match' && !audited)
    .sort((a, b) => distance(a) - distance(b))[0];
}
