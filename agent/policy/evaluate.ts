/** Evaluates a scenario offline, on the same engine that runs on a node. */
import { identityId, RESERVED_IDENTITY, type Identity } from '../model/identity.ts';
import { canonicalLabels, parseLabel, type Label } from '../model/labels.ts';
import { PROTOCOL } from '../model/port.ts';
import { exactName, namePattern, type NamePattern } from '../../dns-proxy/rules/name-pattern.ts';
import { decodePolicy, DEFAULT_DECODE_OPTIONS, formatIssue, type DecodeOptions } from './api/index.ts';
import { DEFAULT_POLICY_CONFIG, type PolicyConfig } from './config.ts';
import type { EndpointPolicy, LookupResult, NamedPort, PolicyEngine, Redirect, RedirectPolicy } from './contract.ts';
import { createPolicyEngine } from './engine.ts';
import { l7Answers } from './l7answer.ts';
import type { Rule, RuleOrigin } from './rule.ts';
import type {
  Answer,
  Matrix,
  Result,
  Scenario,
  ScenarioConfig,
  ScenarioIdentity,
  SubjectAnswer,
  UpdateAnswer,
  Verdicts,
} from './scenario.ts';

/** Characters of a matrix, in the order in which results get them. */
const RESULT_KEYS = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ';

/** The answer to a scenario. Policies with errors count as absent. */
export function evaluate(scenario: Scenario): Answer {
  const options = decodeOptions(scenario.config);
  const decoded = scenario.policies.map((policy) => decodePolicy(policy, options));
  const objects = decoded.flatMap(({ rules }, i) => (rules === undefined ? [] : [{ key: String(i), rules }]));
  const run = new Run(scenario, objects);
  const subjects = scenario.subjects.map((id) => run.subject(id));
  const updates = (scenario.updates ?? []).map((update) => {
    run.update(update.add ?? [], update.delete ?? []);
    return scenario.subjects.map((id) => run.updated(id));
  });
  return {
    name: scenario.name,
    policies: decoded.map(({ errors }) =>
      errors === undefined ? { accepted: true } : { accepted: false, errors: errors.map((e) => formatIssue(e, '')) },
    ),
    peers: run.initialPeers,
    subjects: subjects.map((subject, i) =>
      updates.length === 0 || subject.error !== undefined
        ? subject
        : { ...subject, updates: updates.map((all) => all[i]!) },
    ),
  };
}

/** Options of the decoder that a scenario's configuration stands for. */
export function decodeOptions(config: ScenarioConfig = {}): DecodeOptions {
  const { policyDefaultLocalCluster: defaultLocalCluster = DEFAULT_DECODE_OPTIONS.defaultLocalCluster } = config;
  // Scenarios hold objects as an API server would have passed them on.
  return { ...DEFAULT_DECODE_OPTIONS, ...config, defaultLocalCluster, schema: 'ignore' };
}

export function policyConfig({
  allowLocalhost = 'always',
  policyCIDRMatchMode: cidrMatchMode = [],
  ...config
}: ScenarioConfig = {}): PolicyConfig {
  return { ...DEFAULT_POLICY_CONFIG, ...config, cidrMatchMode, allowLocalhost: allowLocalhost === 'always' };
}

class Run {
  readonly initialPeers: readonly number[];
  readonly #scenario: Scenario;
  readonly #engine: PolicyEngine;
  readonly #peers: Set<number>;
  readonly #policies = new Map<number, EndpointPolicy>();
  readonly #rules: readonly Rule[];

  constructor(scenario: Scenario, policies: readonly { readonly key: string; readonly rules: readonly Rule[] }[]) {
    this.#scenario = scenario;
    this.#rules = policies.flatMap(({ rules }) => rules);
    this.#engine = createPolicyEngine(policyConfig(scenario.config));
    const reserved = reservedIdentities();
    this.#engine.apply({
      policies,
      identities: [...reserved, ...scenario.identities.map((identity) => identityOf(identity, this.#rules))],
      namedPorts: scenario.identities.map(portsOf),
    });
    this.#peers = new Set([...reserved.map(({ id }) => id), ...scenario.identities.map(({ id }) => id)]);
    this.initialPeers = this.#sortedPeers();
  }

  subject(id: number): SubjectAnswer {
    const known = this.#scenario.identities.find((identity) => identity.id === id);
    const namedPorts = known === undefined ? [] : portsOf(known).ports;
    const policy = this.#engine.endpointPolicy({ identity: identityId(id), namedPorts });
    this.#policies.set(id, policy);
    if (policy.error !== undefined) return { id, error: policy.error.describe() };
    const { ingress: ingressEnforced, egress: egressEnforced } = policy.enforced;
    const l7 = l7Answers(policy, this.initialPeers);
    return { id, ingressEnforced, egressEnforced, ...this.#verdicts(policy), ...(l7.length > 0 && { l7 }) };
  }

  update(add: readonly ScenarioIdentity[], removed: readonly number[]): void {
    this.#engine.apply({
      identities: add.map((identity) => identityOf(identity, this.#rules)),
      removedIdentities: removed.map(identityId),
      namedPorts: add.map(portsOf),
    });
    for (const { id } of add) this.#peers.add(id);
    for (const id of removed) this.#peers.delete(id);
  }

  updated(id: number): UpdateAnswer {
    return { peers: this.#sortedPeers(), ...this.#verdicts(this.#policies.get(id)!) };
  }

  #sortedPeers(): readonly number[] {
    return [...this.#peers].sort((a, b) => a - b);
  }

  #verdicts(policy: EndpointPolicy): Verdicts {
    const keys = new Map<string, string>();
    const results: Record<string, Result> = {};
    const keyOf = (found: LookupResult): string => {
      const result = this.#result(found, names);
      const text = JSON.stringify(result);
      let key = keys.get(text);
      if (key === undefined) {
        key = RESULT_KEYS[keys.size] ?? '?';
        keys.set(text, key);
        results[key] = result;
      }
      return key;
    };
    const names = redirectNames(policy);
    const row = (direction: 'ingress' | 'egress') =>
      Object.fromEntries(
        this.#scenario.ports.map(({ proto, port }) => [
          `${proto.toUpperCase()}/${port}`,
          this.#sortedPeers()
            .map((peer) => keyOf(policy.mapState.lookup(direction, identityId(peer), protocolNumber(proto), port)))
            .join(''),
        ]),
      );
    const matrix: Matrix = { egress: row('egress'), ingress: row('ingress') };
    return { results, matrix };
  }

  #result({ verdict, entry, redirect }: LookupResult, names: ReadonlyMap<string, string>): Result {
    if (entry === undefined || verdict === 'default-deny') return { verdict };
    const auth = AUTH_NAMES.get(entry.authType);
    const meaning = this.#engine.cookie(entry.cookie);
    const rules = new Set(meaning?.origins.map(ruleName));
    const said = {
      verdict,
      ...(redirect === undefined ? {} : { redirect: names.get(redirectPlace(redirect)) ?? redirect.parser }),
      ...(auth === undefined ? {} : { auth }),
    };
    if (entry.audited === true) return { ...said, audited: [...rules].sort() };
    if (meaning?.derivedFrom !== undefined) rules.add(`reserved:io.cilium.policy.derived-from=${meaning.derivedFrom}`);
    return { ...said, rules: [...rules].sort() };
  }
}

/**
 * Answers know one redirect for each direction, port and listener, whatever parsers different selectors ask for there;
 * it has the name of the last of them in the order of ranges and selectors.
 */
function redirectNames(policy: EndpointPolicy): ReadonlyMap<string, string> {
  const rank = ({ selector, wildcard }: RedirectPolicy): string =>
    `${wildcard ? 1 : LABEL_SELECTOR.test(selector) ? 0 : 2}${selector}`;
  const ordered = [...policy.redirectPolicies()].sort(
    (a, b) => a.endPort - b.endPort || (rank(a) < rank(b) ? -1 : rank(a) > rank(b) ? 1 : 0),
  );
  return new Map(
    ordered.map(({ redirect }) => [redirectPlace(redirect), redirect.parser === 'crd' ? 'listener' : redirect.parser]),
  );
}

const LABEL_SELECTOR = /^!?(any|k8s|reserved|node|container):/;

function redirectPlace({ direction, protocol, port, listener }: Redirect): string {
  return `${direction}/${protocol}/${port}/${listener}`;
}

const AUTH_NAMES = new Map([
  [1, 'required'],
  [2, 'test-always-fail'],
  [255, 'disabled'],
]);

const SHORT_KIND = {
  CiliumNetworkPolicy: 'CNP',
  CiliumClusterwideNetworkPolicy: 'CCNP',
  NetworkPolicy: 'KNP',
  ClusterNetworkPolicy: 'KCNP',
} as const;

function ruleName({ kind, namespace, name }: RuleOrigin): string {
  return `${SHORT_KIND[kind]}/${namespace}/${name}`;
}

/** IANA number of a protocol's name, or of the number as text. */
export function protocolNumber(name: string): number {
  const wanted = name.toUpperCase();
  const known = Object.entries(PROTOCOL).find(([candidate]) => candidate.toUpperCase() === wanted);
  return known === undefined ? Number(name) : known[1];
}

/** An identity's final labels; without any, they are those of a prefix that DNS answers have named. */
function identityOf({ id, labels, cidr, dnsNames = [] }: ScenarioIdentity, rules: readonly Rule[]): Identity {
  const texts = labels ?? [
    cidr?.includes(':') === true ? 'reserved:world-ipv6' : 'reserved:world-ipv4',
    ...nameSelectors(rules)
      .filter(({ pattern }) => dnsNames.some((name) => pattern.matches(name)))
      .map(({ text }) => `fqdn:${text}`),
  ];
  return { id: identityId(id), labels: canonicalLabels(texts.map((text) => parseLabel(text))) };
}

function nameSelectors(rules: readonly Rule[]): readonly { readonly text: string; readonly pattern: NamePattern }[] {
  return rules
    .flatMap(({ stanzas }) => stanzas.flatMap(({ peers = [] }) => peers))
    .filter((peer) => peer.kind === 'fqdn')
    .map(({ matchName, matchPattern = '' }) =>
      matchName === undefined
        ? { text: matchPattern, pattern: namePattern(matchPattern) }
        : { text: matchName, pattern: exactName(matchName) },
    );
}

export function portsOf({ id, namedPorts = {} }: ScenarioIdentity): {
  identity: Identity['id'];
  ports: readonly NamedPort[];
} {
  const ports = Object.entries(namedPorts).map(([name, { port, protocol }]) => ({
    name,
    port,
    protocol: protocol === undefined ? 0 : protocolNumber(protocol),
  }));
  return { identity: identityId(id), ports };
}

/** The reserved identities as every node has them (S1). */
export function reservedIdentities(): readonly Identity[] {
  return Object.entries(RESERVED_IDENTITY)
    .filter(([name]) => name !== 'any')
    .map(([name, id]) => ({ id, labels: reservedLabels(name) }));
}

/** An API server that has an identity of its own runs on a node. */
function reservedLabels(name: string): readonly Label[] {
  const names = name === 'kube-apiserver' ? [name, 'remote-node'] : [name];
  return names.map((key) => ({ source: 'reserved', key, value: '' }));
}
