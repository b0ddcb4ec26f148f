/** The policy engine: see {@link PolicyEngine} for what it promises. */
import { WeirError } from '../model/errors.ts';
import type { Identity, IdentityId } from '../model/identity.ts';
import type { Label } from '../model/labels.ts';
import type { PolicyConfig } from './config.ts';
import type {
  CookieMeaning,
  EndpointPolicy,
  EndpointPolicyRequest,
  NamedPort,
  PolicyBatch,
  PolicyDemand,
  PolicyEngine,
  SelectorView,
} from './contract.ts';
import { CookieTable } from './cookies.ts';
import { demandOf } from './demand.ts';
import type { DirectionState } from './distillation.ts';
import { explain, type Explanation } from './explain.ts';
import { EndpointHandle } from './endpointpolicy.ts';
import type { IdentityRecord } from './identities.ts';
import { drained, Pace } from './pace.ts';
import { CidrGroups, Services } from './groups.ts';
import { PolicyRepository, RuleSet } from './repository.ts';
import type { Rule, RuleOrigin } from './rule.ts';
import { StanzaSelectors } from './selector.ts';
import { SelectorCache } from './selectorcache.ts';
import { SelectorPolicy, type PolicyParts } from './selectorpolicy.ts';

/** An engine that knows nothing yet. The pace tells what it does between two turns of the event loop. */
export function createPolicyEngine(config: PolicyConfig, pace = new Pace()): PolicyEngine {
  return new Engine(config, pace);
}

class Engine implements PolicyEngine {
  readonly #pace: Pace;
  readonly #selectors: StanzaSelectors;
  readonly #repository = new PolicyRepository();
  readonly #groups = new CidrGroups();
  readonly #services = new Services();
  readonly #cache: SelectorCache;
  readonly #cookies = new CookieTable();
  /** Labels of identities as they were told, before CIDR groups add theirs. */
  readonly #labels = new Map<IdentityId, readonly Label[]>();
  readonly #policies = new Map<IdentityId, SelectorPolicy>();
  readonly #stale = new Set<SelectorPolicy>();
  readonly #pending = new Set<DirectionState>();
  /** States in which an identity's own ports by name matter. */
  readonly #byPortName = new Set<DirectionState>();
  #demand: PolicyDemand | undefined;

  constructor(config: PolicyConfig, pace: Pace) {
    this.#pace = pace;
    this.#selectors = new StanzaSelectors(config);
    this.#cache = new SelectorCache((peer) => this.#services.terms(peer), config.cidrMatchMode);
  }

  get revision(): number {
    return this.#repository.revision;
  }

  apply(batch: PolicyBatch): void {
    this.#applyPolicies(batch);
    this.#applyGroups(batch);
    this.#applyServices(batch);
    const removed = this.#applyIdentities(batch);
    this.#applyNamedPorts(batch);
    this.#flush();
    for (const slot of removed) this.#cache.identities.release(slot);
  }

  *refresh(): Generator<void, void, void> {
    this.#pace.restart();
    for (const policy of this.#stale) {
      this.#stale.delete(policy);
      yield* policy.resolve();
    }
    yield* this.#cookies.sweep(this.#cookiesInUse(), this.#pace);
  }

  *prepare(identity: IdentityId, namedPorts: readonly NamedPort[] = []): Generator<void, void, void> {
    this.#pace.restart();
    const policy = this.#selectorPolicy(identity);
    if (this.#stale.delete(policy)) yield* policy.resolve();
    yield* policy.prepare(namedPorts);
  }

  endpointPolicy(request: EndpointPolicyRequest): EndpointPolicy {
    const { identity } = request;
    const policy = this.#selectorPolicy(identity);
    if (this.#stale.delete(policy) || !policy.isSettled) drained(policy.resolve());
    return new EndpointHandle(request, policy, this.#cache.identities, () => {
      if (!policy.inUse) this.#drop(policy);
    });
  }

  cookie(cookie: number): CookieMeaning | undefined {
    return this.#cookies.meaning(cookie);
  }

  explain(packet: Parameters<PolicyEngine['explain']>[0]): Explanation {
    const { identities } = this.#cache;
    const [subjectSlot, peerSlot] = [this.#slot(packet.subject), this.#slot(packet.peer)];
    const [subject, peer] = [identities.record(subjectSlot)!, identities.record(peerSlot)!];
    const subjectPorts = packet.subjectPorts ?? identities.namedPorts(subjectSlot);
    const question = { ...packet, subject, peer, subjectPorts, peerPorts: identities.namedPorts(peerSlot) };
    return explain(question, {
      selectors: this.#selectors,
      rules: this.#repository.rules(),
      selecting: this.#selecting(subject),
      subject,
      peer,
      terms: ({ dynamic, terms }) => (dynamic === undefined ? terms : this.#services.terms(dynamic)),
    });
  }

  demand(): PolicyDemand {
    return (this.#demand ??= demandOf(this.#repository.rules(), this.#groups.cidrs, (peer) =>
      this.#services.cidrs(peer),
    ));
  }

  knownIdentities(): readonly IdentityId[] {
    return [...this.#labels.keys()];
  }

  selectors(): readonly SelectorView[] {
    const origins = this.#originsBySelector();
    return this.#cache.entries().map(({ selector, users }) => ({
      selector: selector.text,
      identities: Array.from(selector.selection.members, (slot) => this.#cache.identities.idOf(slot)).sort(
        (a, b) => a - b,
      ),
      users,
      origins: origins.get(selector.text) ?? [],
    }));
  }

  /** Which objects name each selector. */
  #originsBySelector(): ReadonlyMap<string, readonly RuleOrigin[]> {
    const found = new Map<string, RuleOrigin[]>();
    for (const rules of this.#repository.objects().values()) {
      const texts = new Set(
        rules.flatMap(({ stanzas }) => stanzas.flatMap((stanza) => this.#selectors.of(stanza).map(({ text }) => text))),
      );
      for (const text of texts) {
        const origins = found.get(text);
        if (origins === undefined) found.set(text, [rules[0]!.origin]);
        else origins.push(rules[0]!.origin);
      }
    }
    return found;
  }

  policies(): ReadonlyMap<string, readonly Rule[]> {
    return this.#repository.objects();
  }

  #selecting(record: IdentityRecord): readonly Rule[] {
    return drained(this.#repository.selecting(record, new Pace()));
  }

  #selectorPolicy(identity: IdentityId): SelectorPolicy {
    let policy = this.#policies.get(identity);
    if (policy === undefined) {
      policy = new SelectorPolicy(this.#cache.identities.record(this.#slot(identity))!, this.#parts());
      this.#policies.set(identity, policy);
    }
    return policy;
  }

  #drop(policy: SelectorPolicy): void {
    policy.dispose();
    this.#stale.delete(policy);
    if (this.#policies.get(policy.identity) === policy) this.#policies.delete(policy.identity);
  }

  #slot(identity: IdentityId): number {
    const slot = this.#cache.identities.slotOf(identity);
    if (slot !== undefined) return slot;
    throw new WeirError('IDENTITY_NOT_FOUND', `identity ${identity} is unknown to the policy engine`);
  }

  #parts(): PolicyParts {
    return {
      selectors: this.#selectors,
      repository: this.#repository,
      cache: this.#cache,
      cookies: this.#cookies,
      pace: this.#pace,
      onPending: (state) => this.#pending.add(state),
      onMade: (state) => {
        if (state.usesPortNames) this.#byPortName.add(state);
      },
      onDisposed: (state) => {
        this.#pending.delete(state);
        this.#byPortName.delete(state);
      },
    };
  }

  #applyPolicies({ policies = [], replaceAllPolicies = false }: PolicyBatch): void {
    const gone = replaceAllPolicies ? this.#keysBesides(policies) : [];
    if (policies.length + gone.length === 0) return;
    this.#repository.nextRevision();
    this.#demand = undefined;
    const touched: Rule[] = [];
    for (const key of gone) touched.push(...this.#repository.replace(key, undefined));
    for (const { key, rules } of policies) touched.push(...this.#repository.replace(key, rules), ...(rules ?? []));
    if (this.#policies.size === 0) return;
    const changed = new RuleSet(touched);
    this.#cookies.retired(touched.length);
    for (const policy of this.#policies.values()) {
      if (changed.selects(policy.record)) this.#stale.add(policy);
      else policy.unaffected(this.#repository.revision);
    }
  }

  #keysBesides(policies: NonNullable<PolicyBatch['policies']>): readonly string[] {
    const kept = new Set(policies.map(({ key }) => key));
    return [...this.#repository.keys()].filter((key) => !kept.has(key));
  }

  #applyGroups({ cidrGroups = [] }: PolicyBatch): void {
    if (cidrGroups.length === 0) return;
    this.#demand = undefined;
    for (const { name, group } of cidrGroups) this.#groups.set(name, group);
    for (const [id, labels] of this.#labels) {
      if (labels.some(({ source }) => source === 'cidr')) this.#putIdentity({ id, labels });
    }
  }

  #applyServices({ services = [] }: PolicyBatch): void {
    if (services.length === 0) return;
    this.#demand = undefined;
    for (const { namespace, name, service } of services) this.#services.set(namespace, name, service);
    this.#cache.refreshDynamic();
  }

  /** Gives the slots to release once everyone has followed. */
  #applyIdentities({ identities = [], removedIdentities = [] }: PolicyBatch): readonly number[] {
    for (const identity of identities) {
      this.#labels.set(identity.id, identity.labels);
      this.#putIdentity(identity);
    }
    const removed: number[] = [];
    for (const id of removedIdentities) {
      const slot = this.#cache.remove(id);
      this.#labels.delete(id);
      if (slot === undefined) continue;
      removed.push(slot);
      this.#identityChanged(slot);
      const policy = this.#policies.get(id);
      if (policy?.inUse === false) this.#drop(policy);
    }
    return removed;
  }

  #putIdentity({ id, labels }: Identity): void {
    const slot = this.#cache.put(id, this.#groups.extend(labels));
    this.#identityChanged(slot);
    const policy = this.#policies.get(id);
    if (policy !== undefined) this.#stale.add(policy);
  }

  #applyNamedPorts({ namedPorts = [] }: PolicyBatch): void {
    for (const { identity, ports } of namedPorts) {
      const slot = this.#cache.identities.slotOf(identity);
      if (slot === undefined) continue;
      this.#cache.identities.setNamedPorts(slot, ports);
      this.#identityChanged(slot);
    }
  }

  #identityChanged(slot: number): void {
    for (const state of this.#byPortName) state.identityChanged(slot);
  }

  #flush(): void {
    for (const state of this.#pending) {
      this.#pending.delete(state);
      const moved = state.flush();
      if (moved.length === 0) continue;
      for (const policy of this.#policies.values()) policy.announce(state, moved);
    }
  }

  *#cookiesInUse(): Iterable<number> {
    for (const policy of this.#policies.values()) yield* policy.cookies();
  }
}
