/** The policy of an identity, shared by all its endpoints, and its distillations: one for each set of ports by name. */
import { WeirError } from '../model/errors.ts';
import type { IdentityId } from '../model/identity.ts';
import type { PolicyConfig } from './config.ts';
import type { NamedPort } from './contract.ts';
import type { CookieTable } from './cookies.ts';
import { DirectionState, type ClassChange } from './distillation.ts';
import { resolveDirection, type DirectionPolicy } from './l4policy.ts';
import type { Distilled } from './mapstate.ts';
import type { IdentityRecord } from './identities.ts';
import { subjectOf, type PolicyRepository } from './repository.ts';
import type { SelectorCache } from './selectorcache.ts';

/** What all selector policies of an engine share. */
export interface PolicyParts {
  readonly config: PolicyConfig;
  readonly repository: PolicyRepository;
  readonly cache: SelectorCache;
  readonly cookies: CookieTable;
  /** A state has identities to move. */
  readonly onPending: (state: DirectionState) => void;
  readonly onMade: (state: DirectionState) => void;
  readonly onDisposed: (state: DirectionState) => void;
}

/** An endpoint, as its selector policy sees it. */
export interface PolicyUser {
  readonly namedPorts: readonly NamedPort[];
  /** The distillation was replaced; or the error changed. */
  resolved(distilled: Distilled): void;
  moved(direction: 'ingress' | 'egress', changes: readonly ClassChange[]): void;
}

interface Distillation extends Distilled {
  readonly users: Set<PolicyUser>;
}

/** Denies everything: what an endpoint has whose rules contradict each other from the start (S27). */
const LOCKED: Readonly<Record<'ingress' | 'egress', DirectionPolicy>> = {
  ingress: { direction: 'ingress', enforced: true, filters: [] },
  egress: { direction: 'egress', enforced: true, filters: [] },
};

export class SelectorPolicy {
  readonly identity: IdentityId;
  revision = 0;
  error: WeirError | undefined;
  readonly #parts: PolicyParts;
  #record: IdentityRecord;
  #directions = LOCKED;
  #distillations = new Map<string, Distillation>();

  constructor(record: IdentityRecord, parts: PolicyParts) {
    this.identity = record.id;
    this.#record = record;
    this.#parts = parts;
    this.resolve();
  }

  /** The identity with its labels; as last known, should it be gone while endpoints still have it. */
  get record(): IdentityRecord {
    const { identities } = this.#parts.cache;
    const slot = identities.slotOf(this.identity);
    if (slot !== undefined) this.#record = identities.record(slot)!;
    return this.#record;
  }

  get inUse(): boolean {
    return this.#distillations.size > 0;
  }

  get enforced(): { readonly ingress: boolean; readonly egress: boolean } {
    return { ingress: this.#directions.ingress.enforced, egress: this.#directions.egress.enforced };
  }

  /**
   * Resolves the rules again and moves every endpoint to the result. Rules that contradict each other leave what is in
   * force as it is, and {@link error} says why.
   */
  resolve(): void {
    this.revision = this.#parts.repository.revision;
    try {
      this.#directions = this.#resolveDirections();
      this.error = undefined;
    } catch (thrown) {
      if (!(thrown instanceof WeirError)) throw thrown;
      this.error = thrown;
      for (const distillation of this.#distillations.values()) {
        for (const user of distillation.users) user.resolved(distillation);
      }
      return;
    }
    const former = this.#distillations;
    this.#distillations = new Map();
    for (const { users } of former.values()) for (const user of users) user.resolved(this.attach(user));
    for (const distillation of former.values()) this.#disposeStates(distillation);
  }

  /** The distillation for the user's ports by name, which it uses from now on. */
  attach(user: PolicyUser): Distilled {
    const key = this.#portsKey(user.namedPorts);
    let distillation = this.#distillations.get(key);
    if (distillation === undefined) {
      distillation = { ...this.#distill(user.namedPorts), users: new Set() };
      this.#distillations.set(key, distillation);
    }
    distillation.users.add(user);
    return distillation;
  }

  detach(user: PolicyUser): void {
    for (const [key, distillation] of this.#distillations) {
      if (!distillation.users.delete(user) || distillation.users.size > 0) continue;
      this.#distillations.delete(key);
      this.#disposeStates(distillation);
    }
  }

  /** Lets `move` attach the user anew before what it used is given up, so that selectors in common are not evaluated again. */
  detachLater(user: PolicyUser, move: () => void): void {
    const former = [...this.#distillations].filter(([, { users }]) => users.delete(user));
    move();
    for (const [key, distillation] of former) {
      if (distillation.users.size > 0) continue;
      this.#distillations.delete(key);
      this.#disposeStates(distillation);
    }
  }

  /** Tells the endpoints that share a state what moved in it. */
  announce(state: DirectionState, moved: readonly ClassChange[]): void {
    for (const { ingress, egress, users } of this.#distillations.values()) {
      if (state !== ingress && state !== egress) continue;
      for (const user of users) user.moved(state.direction, moved);
    }
  }

  collectCookies(used: Set<number>): void {
    for (const { ingress, egress } of this.#distillations.values()) {
      for (const state of [ingress, egress]) for (const cookie of state.cookies()) used.add(cookie);
    }
  }

  dispose(): void {
    for (const distillation of this.#distillations.values()) this.#disposeStates(distillation);
    this.#distillations.clear();
  }

  #resolveDirections(): Readonly<Record<'ingress' | 'egress', DirectionPolicy>> {
    const { repository, config } = this.#parts;
    const record = this.record;
    const rules = config.enforcement === 'never' ? [] : repository.selecting(record);
    const subject = subjectOf(record);
    return {
      ingress: resolveDirection('ingress', rules, subject, config),
      egress: resolveDirection('egress', rules, subject, config),
    };
  }

  #distill(ports: readonly NamedPort[]): Distilled {
    const { cache, cookies, onPending, onMade } = this.#parts;
    const { ingress, egress } = this.#directions;
    const distilled = {
      ingress: new DirectionState(ingress, ports, cache, cookies, onPending),
      egress: new DirectionState(egress, ports, cache, cookies, onPending),
    };
    onMade(distilled.ingress);
    onMade(distilled.egress);
    return distilled;
  }

  /** Endpoints whose ports by name mean the same to the ingress rules share a distillation. */
  #portsKey(ports: readonly NamedPort[]): string {
    const names = new Set(this.#directions.ingress.filters.map(({ portName }) => portName.toLowerCase()));
    return ports
      .filter(({ name }) => names.has(name.toLowerCase()))
      .map(({ name, port, protocol }) => `${name}/${port}/${protocol}`)
      .sort()
      .join(' ');
  }

  #disposeStates({ ingress, egress }: Distilled): void {
    for (const state of [ingress, egress]) {
      state.dispose();
      this.#parts.onDisposed(state);
    }
  }
}
