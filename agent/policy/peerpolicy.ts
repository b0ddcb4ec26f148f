/**
 * What one or more stanzas say about one selector on one port: the unit in which rules are merged (S26 to S28) and in
 * which they can contradict each other (S27).
 */
import { WeirError } from '../model/errors.ts';
import { PROTOCOL } from '../model/port.ts';
import { parserPriority, type Verdict } from './precedence.ts';
import type { AuthMode, L7Spec, RuleStanza } from './rule.ts';

/** A stanza together with what its rule adds to it. */
export interface StanzaSource {
  readonly stanza: RuleStanza;
  /** `log.value` of the rule. */
  readonly log: string | undefined;
}

type Context = Readonly<Record<string, unknown>>;
type L7Rule = Readonly<Record<string, unknown>>;

export interface PeerPolicy {
  readonly verdict: Verdict;
  /** Empty when the traffic is not redirected. */
  readonly parser: string;
  /** Lower first; 0 without a redirect. */
  readonly listenerPriority: number;
  /** Empty unless the parser is `crd`. */
  readonly listener: string;
  readonly auth: AuthMode | undefined;
  readonly terminatingTLS: Context | undefined;
  readonly originatingTLS: Context | undefined;
  /** Sorted; empty when all are fine. */
  readonly serverNames: readonly string[];
  /** Empty: everything is allowed. */
  readonly rules: readonly L7Rule[];
  readonly sources: readonly StanzaSource[];
  /** Set when no rule says this: `allow-any-ingress`, `allow-localhost-ingress`, `deny-any-egress` … */
  readonly derivedFrom?: string;
}

/** What no rule says but follows from the configuration or from the rules as a whole (S12, S14). */
export function derivedPolicy(verdict: 'allow' | 'deny', derivedFrom: string): PeerPolicy {
  return {
    verdict,
    parser: '',
    listenerPriority: 0,
    listener: '',
    auth: undefined,
    terminatingTLS: undefined,
    originatingTLS: undefined,
    serverNames: [],
    rules: [],
    sources: [],
    derivedFrom,
  };
}

/**
 * What a stanza says about one of its ports.
 *
 * @param namespace that of the subject; empty when it has none.
 * @throws WeirError POLICY_CONFLICT when the stanza names a listener that it cannot have.
 */
export function peerPolicy(
  source: StanzaSource,
  protocol: number,
  l7: L7Spec | undefined,
  namespace: string,
): PeerPolicy {
  const { stanza } = source;
  const allowed = stanza.action === 'allow';
  const parser = allowed && l7 !== undefined ? parserOn(protocol, l7) : '';
  const redirected = parser === '' ? undefined : l7;
  const listener = redirected?.listener;
  return {
    verdict: stanza.action,
    parser,
    listenerPriority: listener !== undefined && listener.priority > 0 ? listener.priority : parserPriority(parser),
    listener: listener === undefined ? '' : listenerName(listener, namespace, stanza),
    auth: allowed ? stanza.auth : undefined,
    terminatingTLS: redirected?.terminatingTLS,
    originatingTLS: redirected?.originatingTLS,
    serverNames: sorted(redirected?.serverNames ?? []),
    rules: parser === 'tls' || parser === 'crd' ? [] : (redirected?.rules ?? []),
    sources: [source],
  };
}

/** A clusterwide policy means the configuration in the namespace of each pod that it selects. */
function listenerName(listener: NonNullable<L7Spec['listener']>, namespace: string, stanza: RuleStanza): string {
  const name = `${listener.config}/${listener.name}`;
  if (listener.namespaceMissing !== true) return name;
  if (namespace !== '') return `${namespace}${name}`;
  throw new WeirError('POLICY_CONFLICT', `listener ${listener.name} lies in a namespace, and the subject in none`, {
    object: originText(stanza),
    field: stanza.origin.path,
    remedy: 'name a CiliumClusterwideEnvoyConfig',
  });
}

/** Protocol ANY expands to UDP and SCTP too, where only DNS and TLS contexts mean something. */
function parserOn(protocol: number, l7: L7Spec): string {
  if (l7.parser === 'dns' || l7.parser === 'crd' || l7.parser === 'tls' || protocol === PROTOCOL.TCP) return l7.parser;
  return hasTls(l7) ? 'tls' : '';
}

function hasTls(l7: L7Spec): boolean {
  return l7.terminatingTLS !== undefined || l7.originatingTLS !== undefined || (l7.serverNames ?? []).length > 0;
}

const RANK: Readonly<Record<Verdict, number>> = { deny: 2, allow: 1, pass: 0 };

/**
 * Both at once, on one level.
 *
 * @throws WeirError POLICY_CONFLICT when they contradict each other (S27).
 */
export function mergePeerPolicies(a: PeerPolicy, b: PeerPolicy, where: string): PeerPolicy {
  // Deny beats allow, allow beats pass; what loses says nothing any more.
  if (a.verdict !== b.verdict) return RANK[a.verdict] > RANK[b.verdict] ? a : b;
  const sources = [...a.sources, ...b.sources];
  if (a.verdict !== 'allow') return { ...a, sources };
  const redirect = mergeRedirects(a, b, where);
  const merged = {
    ...a,
    ...redirect,
    auth: mergeOnly(a.auth, b.auth, 'authentication modes', a, b, where),
    terminatingTLS: mergeOnly(a.terminatingTLS, b.terminatingTLS, 'terminating TLS contexts', a, b, where),
    originatingTLS: mergeOnly(a.originatingTLS, b.originatingTLS, 'originating TLS contexts', a, b, where),
    serverNames: sorted([...a.serverNames, ...b.serverNames]),
    rules: mergeRules(redirect.parser, a.rules, b.rules),
    sources,
  };
  // The peer looks at the rules of the earlier one only, and so do we: in the other order both apply.
  if (merged.serverNames.length > 0 && a.rules.length > 0 && merged.terminatingTLS === undefined) {
    throw conflict('server names and layer 7 rules without a terminating TLS context', a, b, where);
  }
  return merged;
}

function mergeRedirects(
  a: PeerPolicy,
  b: PeerPolicy,
  where: string,
): Pick<PeerPolicy, 'parser' | 'listener' | 'listenerPriority'> {
  const parser = mergeParsers(a.parser, b.parser);
  if (parser === undefined) throw conflict(`layer 7 parsers ${a.parser} and ${b.parser}`, a, b, where);
  const from = parser === a.parser ? a : b;
  const merged = { parser, listener: from.listener, listenerPriority: from.listenerPriority };
  if (b.listener === '' || from === b) return merged;
  if (a.listener === b.listener && a.listenerPriority === b.listenerPriority) return merged;
  if (a.listener !== '' && a.listenerPriority < b.listenerPriority) return merged;
  if (a.listener === '' || b.listenerPriority < a.listenerPriority) {
    return { parser, listener: b.listener, listenerPriority: b.listenerPriority };
  }
  throw conflict(`listeners ${a.listener} and ${b.listener} of equal priority ${a.listenerPriority}`, a, b, where);
}

/** The parser that serves both; undefined when none does. TLS is part of what the others do, except DNS and listeners. */
export function mergeParsers(a: string, b: string): string | undefined {
  if (a === b || b === '') return a;
  if (a === '') return b;
  if (a === 'tls' && b !== 'dns' && b !== 'crd') return b;
  if (b === 'tls' && a !== 'dns' && a !== 'crd') return a;
  return undefined;
}

/** S26: rules beside none become rules with one that allows everything. */
function mergeRules(parser: string, a: readonly L7Rule[], b: readonly L7Rule[]): readonly L7Rule[] {
  if (a.length === 0 && b.length === 0) return a;
  if (a.length === 0) return withWildcard(parser, b);
  if (b.length === 0) return withWildcard(parser, a);
  return distinct([...a, ...b]);
}

/** The rules, and one that allows everything (S26). */
export function withWildcard(parser: string, rules: readonly L7Rule[]): readonly L7Rule[] {
  if (rules.length === 0) return rules;
  return distinct([...rules, parser === 'dns' ? { matchPattern: '*' } : {}]);
}

function distinct(rules: readonly L7Rule[]): readonly L7Rule[] {
  return [...new Map(rules.map((rule) => [JSON.stringify(rule), rule])).values()];
}

function mergeOnly<T>(
  x: T | undefined,
  y: T | undefined,
  what: string,
  a: PeerPolicy,
  b: PeerPolicy,
  where: string,
): T | undefined {
  if (x === undefined || y === undefined) return x ?? y;
  if (JSON.stringify(x) === JSON.stringify(y)) return x;
  throw conflict(typeof x === 'string' ? `${what} ${x} and ${String(y)}` : what, a, b, where);
}

function conflict(what: string, a: PeerPolicy, b: PeerPolicy, where: string): WeirError {
  const [one, other] = [a, b].map(({ sources }) => originText(sources.at(-1)!.stanza));
  return new WeirError('POLICY_CONFLICT', `${one!} and ${other!} contradict each other on ${where}: ${what}`, {
    object: one!,
    field: a.sources.at(-1)!.stanza.origin.path,
  });
}

/** `CiliumNetworkPolicy default/web spec.ingress[0]`. */
export function originText({ origin }: Pick<RuleStanza, 'origin'>): string {
  const name = origin.namespace === '' ? origin.name : `${origin.namespace}/${origin.name}`;
  return `${origin.kind} ${name} ${origin.path}`;
}

function sorted(names: readonly string[]): readonly string[] {
  return [...new Set(names)].sort();
}
