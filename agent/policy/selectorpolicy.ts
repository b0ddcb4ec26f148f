/** The policy of an identity, shared by all its endpoints, and its distillations: one for each set of ports by name. */
import { WeirError } from '../model/errors.ts';
import type { IdentityId } from '../model/identity.ts';
import type { NamedPort } from './contract.ts';
import type { CookieTable } from './cookies.ts';
import { DirectionState, type ClassChange } from './distillation.ts';
import { resolvingDirection, type DirectionPolicy } from './l4policy.ts';
import type { Distilled } from './mapstate.ts';
import type { IdentityRecord } from './identities.ts';
import { subjectOf, type PolicyRepository } from './repository.ts';
import type { SelectorSpec, StanzaSelectors } from './selector.ts';
import type { Selector, SelectorCache, SelectorUser } from './selectorcache.ts';

/** What all selector policies of an engine share. */
export interface PolicyParts {
  readonly selectors: StanzaSelectors;
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

type Directions = Readonly<Record<'ingress' | 'egress', DirectionPolicy>>;

/** Denies everything: what an endpoint has whose rules contradict each other from the start (S27). */
const LOCKED: Directions = {
  ingress: { direction: 'ingress', enforced: true, filters: [] },
  egress: { direction: 'egress', enforced: true, filters: [] },
};

/** Selectors to evaluate between two turns of the event loop. */
const SLICE = 16;

/** Keeps selectors evaluated while nobody else does. */
class SelectorHolder implements SelectorUser {
  readonly #cache: SelectorCache;
  readonly #held: Selector[] = [];

  constructor(cache: SelectorCache) {
    this.#cache = cache;
  }

  /** Gives how many it holds. */
  acquire(spec: SelectorSpec): number {
    return this.#held.push(this.#cache.acquire(spec, this, this.#held.length));
  }

  release(): void {
    for (const selector of this.#held) this.#cache.release(selector, this);
  }

  selectionChanged(): void {
    // It only holds: whoever uses the selector is told.
  }
}

export class SelectorPolicy {
  readonly identity: IdentityId;
  revision = 0;
  error: WeirError | undefined;
  readonly #parts: PolicyParts;
  #record: IdentityRecord;
  #directions = LOCKED;
  #distillations = new Map<string, Distillation>();
  /** Counts resolutions: only the latest may move the endpoints. */
  #round = 0;
  #settled = 0;
  /** Selectors of a policy without endpoints yet. */
  #held: SelectorHolder | undefined;

  constructor(record: IdentityRecord, parts: PolicyParts) {
    this.identity = record.id;
    this.#record = record;
    this.#parts = parts;
  }

  /** The identity with its labels; as last known, should it be gone while endpoints still have it. */
  get record(): IdentityRecord {
    const { identities } = this.#parts.cache;
    const slot = identities.slotOf(this.identity);
    if (slot !== undefined) this.#record = identities.record(slot)!;
    return this.#record;
  }

  /** Whether the latest resolution has come to its end. */
  get isSettled(): boolean {
    return this.#round > 0 && this.#settled === this.#round;
  }

  get inUse(): boolean {
    return this.#distillations.size > 0;
  }

  get enforced(): { readonly ingress: boolean; readonly egress: boolean } {
    return { ingress: this.#directions.ingress.enforced, egress: this.#directions.egress.enforced };
  }

  /**
   * Resolves the rules again and moves every endpoint to the result, in slices of a few milliseconds; the move itself is
   * one. Rules that contradict each other leave what is in force as it is, and {@link error} says why. A later resolution
   * makes an earlier one that is still under way give up.
   */
  *resolve(): Generator<void, void, void> {
    const round = ++this.#round;
    this.revision = this.#parts.repository.revision;
    // Selectors are acquired ahead of the move, so that it finds all of them evaluated.
    const holder = new SelectorHolder(this.#parts.cache);
    try {
      const resolving = this.#resolveDirections(holder);
      for (;;) {
        const { done, value } = resolving.next();
        if (round !== this.#round) return;
        if (done === true) {
          this.#move(value);
          return;
        }
        yield;
      }
    } catch (thrown) {
      if (!(thrown instanceof WeirError)) throw thrown;
      if (round !== this.#round) return;
      this.#settled = round;
      this.error = thrown;
      for (const { users, ingress, egress } of this.#distillations.values()) {
        for (const user of users) user.resolved({ ingress, egress });
      }
    } finally {
      this.#held?.release();
      this.#held = holder;
      if (this.inUse) this.#releaseHeld();
    }
  }

  #releaseHeld(): void {
    this.#held?.release();
    this.#held = undefined;
  }

  #move(directions: Directions): void {
    this.#settled = this.#round;
    this.#directions = directions;
    this.error = undefined;
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
    this.#releaseHeld();
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
    this.#round++;
    this.#releaseHeld();
    for (const distillation of this.#distillations.values()) this.#disposeStates(distillation);
    this.#distillations.clear();
  }

  *#resolveDirections(holder: SelectorHolder): Generator<void, Directions, void> {
    const { repository, selectors } = this.#parts;
    const rules = selectors.config.enforcement === 'never' ? [] : repository.selecting(this.record);
    const subject = subjectOf(this.record);
    const ingress = yield* resolvingDirection('ingress', rules, subject, selectors);
    const egress = yield* resolvingDirection('egress', rules, subject, selectors);
    for (const { peers } of [...ingress.filters, ...egress.filters]) {
      for (const { selector } of peers.values()) {
        if (!selector.wildcard && holder.acquire(selector) % SLICE === 0) yield;
      }
    }
    return { ingress, egress };
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
