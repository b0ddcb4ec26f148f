/** Evaluates a scenario offline, on the same engine that runs on a node. */
import { identityId, RESERVED_IDENTITY, type Identity } from '../model/identity.ts';
import { canonicalLabels, parseLabel, type Label } from '../model/labels.ts';
import { PROTOCOL } from '../model/port.ts';
import { decodePolicy, DEFAULT_DECODE_OPTIONS, formatIssue, type DecodeOptions } from './api/index.ts';
import { DEFAULT_POLICY_CONFIG, type PolicyConfig } from './config.ts';
import type { EndpointPolicy, LookupResult, NamedPort, PolicyEngine } from './contract.ts';
import { createPolicyEngine } from './engine.ts';
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

function policyConfig({ allowLocalhost = 'always', ...config }: ScenarioConfig = {}): PolicyConfig {
  return { ...DEFAULT_POLICY_CONFIG, ...config, allowLocalhost: allowLocalhost === 'always' };
}

class Run {
  readonly initialPeers: readonly number[];
  readonly #scenario: Scenario;
  readonly #engine: PolicyEngine;
  readonly #peers: Set<number>;
  readonly #policies = new Map<number, EndpointPolicy>();

  constructor(scenario: Scenario, policies: readonly { readonly key: string; readonly rules: readonly Rule[] }[]) {
    this.#scenario = scenario;
    this.#engine = createPolicyEngine(policyConfig(scenario.config));
    const reserved = reservedIdentities();
    this.#engine.apply({
      policies,
      identities: [...reserved, ...scenario.identities.map(identityOf)],
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
    return { id, ingressEnforced, egressEnforced, ...this.#verdicts(policy) };
  }

  update(add: readonly ScenarioIdentity[], removed: readonly number[]): void {
    this.#engine.apply({
      identities: add.map(identityOf),
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
      const result = this.#result(found);
      const text = JSON.stringify(result);
      let key = keys.get(text);
      if (key === undefined) {
        key = RESULT_KEYS[keys.size] ?? '?';
        keys.set(text, key);
        results[key] = result;
      }
      return key;
    };
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

  #result({ verdict, entry, redirect }: LookupResult): Result {
    if (entry === undefined || verdict === 'default-deny') return { verdict };
    const auth = AUTH_NAMES.get(entry.authType);
    const meaning = this.#engine.cookie(entry.cookie);
    const rules = new Set(meaning?.origins.map(ruleName));
    if (meaning?.derivedFrom !== undefined) rules.add(`reserved:io.cilium.policy.derived-from=${meaning.derivedFrom}`);
    return {
      verdict,
      ...(redirect === undefined ? {} : { redirect: redirect.parser === 'crd' ? 'listener' : redirect.parser }),
      ...(auth === undefined ? {} : { auth }),
      rules: [...rules].sort(),
    };
  }
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

function identityOf({ id, labels = [] }: ScenarioIdentity): Identity {
  return { id: identityId(id), labels: canonicalLabels(labels.map((text) => parseLabel(text))) };
}

function portsOf({ id, namedPorts = {} }: ScenarioIdentity): { identity: Identity['id']; ports: readonly NamedPort[] } {
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
