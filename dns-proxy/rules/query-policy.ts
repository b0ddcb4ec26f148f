/** Whether a pod may ask a server for a name: by endpoint, destination and port. Plain data in, so that it can be sent and kept. */
import { exactName, namePattern, type NamePattern } from './name-pattern.ts';

/** One rule of a policy; with both fields it matches what either matches, with neither nothing. */
export interface NameRule {
  readonly matchName?: string;
  readonly matchPattern?: string;
}

/** What the peers behind one redirect may be asked. */
export interface PeerNames {
  /** IANA number of the transport; 0 is any. */
  readonly protocol: number;
  /** 0 is every port. */
  readonly port: number;
  /** Last port of a range; 0 for a single port. */
  readonly endPort: number;
  /** Identities of the servers; undefined is every server. */
  readonly peers: readonly number[] | undefined;
  /** Names that may be asked for; empty is any. */
  readonly names: readonly NameRule[];
}

/** `server`: no rule lets the endpoint ask this server on this port. `name`: some do, but not for this name. */
export type QueryVerdict = 'allowed' | 'server' | 'name';

export interface Query {
  /** Identity of the server that is asked. */
  readonly server: number;
  readonly protocol: number;
  readonly port: number;
  /** Canonical name: lower case, final dot. */
  readonly name: string;
}

interface CompiledPeer extends Omit<PeerNames, 'peers' | 'names'> {
  readonly peers: ReadonlySet<number> | undefined;
  readonly names: NameMatcher;
}

/** The rules of all endpoints. What is not known is refused. */
export class QueryPolicies {
  readonly #endpoints = new Map<number, readonly CompiledPeer[]>();
  /** Endpoints of one policy share its lists of rules, and so their compiled form. */
  readonly #matchers = new WeakMap<readonly NameRule[], NameMatcher>();

  /** Makes these an endpoint's rules; a query sees the former ones or these. */
  replace(endpoint: number, rules: readonly PeerNames[]): void {
    this.#endpoints.set(
      endpoint,
      rules.map((rule) => ({
        ...rule,
        peers: rule.peers && new Set(rule.peers),
        names: this.#matcher(rule.names),
      })),
    );
  }

  remove(endpoint: number): void {
    this.#endpoints.delete(endpoint);
  }

  /** What several rules allow is joined. */
  decide(endpoint: number, query: Query): QueryVerdict {
    let verdict: QueryVerdict = 'server';
    for (const peer of this.#endpoints.get(endpoint) ?? []) {
      if (!covers(peer, query)) continue;
      if (peer.names.matches(query.name)) return 'allowed';
      verdict = 'name';
    }
    return verdict;
  }

  #matcher(names: readonly NameRule[]): NameMatcher {
    const known = this.#matchers.get(names) ?? new NameMatcher(names);
    this.#matchers.set(names, known);
    return known;
  }
}

function covers({ protocol, port, endPort, peers }: CompiledPeer, query: Query): boolean {
  if (protocol !== 0 && protocol !== query.protocol) return false;
  if (port !== 0 && (query.port < port || query.port > Math.max(port, endPort))) return false;
  return peers?.has(query.server) ?? true;
}

/** A list of rules: names by a look-up, patterns one after another, each in linear time (S29). */
class NameMatcher {
  readonly #any: boolean;
  readonly #names = new Set<string>();
  readonly #patterns: NamePattern[] = [];

  constructor(rules: readonly NameRule[]) {
    this.#any = rules.length === 0;
    for (const { matchName, matchPattern } of rules) {
      if (matchName !== undefined) this.#names.add(exactName(matchName).text);
      if (matchPattern !== undefined) this.#patterns.push(namePattern(matchPattern));
    }
  }

  matches(name: string): boolean {
    return this.#any || this.#names.has(name) || this.#patterns.some((pattern) => pattern.matches(name));
  }
}
