/** The policy of an identity, shared by all its endpoints, and its distillations: one for each set of ports by name. */
import { WeirError } from '../model/errors.ts';
import type { IdentityId } from '../model/identity.ts';
import type { Direction } from '../model/mapstate.ts';
import type { EndpointPolicy, NamedPort } from './contract.ts';
import { DirectionState, type ClassChange, type StateParts } from './distillation.ts';
import type { IdentityRecord } from './identities.ts';
import { resolvingDirection, type DirectionPolicy, type Subject } from './l4policy.ts';
import type { Distilled } from './mapstate.ts';
import { drained } from './pace.ts';
import { subjectOf, type PolicyRepository } from './repository.ts';
import type { Rule } from './rule.ts';
import type { StanzaSelectors } from './selector.ts';

/** What all selector policies of an engine share. */
export interface PolicyParts extends StateParts {
  readonly selectors: StanzaSelectors;
  readonly repository: PolicyRepository;
}

/** An endpoint, as its selector policy sees it. */
export interface PolicyUser {
  readonly namedPorts: readonly NamedPort[];
  /** The distillation was replaced, or the error changed; gives how many entries of its map that changes. */
  resolved(distilled: Distilled): number;
  moved(direction: Direction, changes: readonly ClassChange[]): void;
}

type Directions = Readonly<Record<Direction, DirectionPolicy>>;

/** What a direction is resolved from: while it is the same, so is the policy. */
interface Source {
  /** The rules that speak about the direction, in order of decision. */
  readonly rules: readonly Rule[];
  readonly subject: Subject;
}

type Sources = Readonly<Record<Direction, Source>>;

const DIRECTIONS = ['ingress', 'egress'] as const;

interface Distillation extends Distilled {
  /** What it was made of. */
  readonly directions: Directions;
  /** Ports by name, as far as they matter. */
  readonly ports: string;
  readonly users: Set<PolicyUser>;
}

/** Denies everything: what an endpoint has whose rules contradict each other from the start (S27). */
const CONFLICT = { origins: [], derivedFrom: 'conflicting-rules' } as const;
const LOCKED: Directions = {
  ingress: { direction: 'ingress', enforced: true, defaultDeny: CONFLICT, audited: [], filters: [] },
  egress: { direction: 'egress', enforced: true, defaultDeny: CONFLICT, audited: [], filters: [] },
};

/** Slots of a map state that can be compared in one unit of the pace, and entries that can be told to have changed. */
const SLOTS_PER_UNIT = 4;
const CHANGES_PER_UNIT = 2;

/** Stands for an endpoint that is about to come. */
class Forerunner implements PolicyUser {
  readonly namedPorts: readonly NamedPort[];

  constructor(namedPorts: readonly NamedPort[]) {
    this.namedPorts = namedPorts;
  }

  resolved(): number {
    return 0;
  }

  moved(): void {
    // It only keeps the policy resolved.
  }
}

export class SelectorPolicy {
  readonly identity: IdentityId;
  /** Repository revision that all endpoints have. */
  revision = 0;
  error: WeirError | undefined;
  readonly #parts: PolicyParts;
  #record: IdentityRecord;
  #directions = LOCKED;
  #sources: Sources | undefined;
  /** How many distillations have each state: those that differ in one direction share that of the other. */
  readonly #holders = new Map<DirectionState, number>();
  /** Those in use; after a resolution some endpoints may have that of the one before for a while. */
  readonly #distillations = new Set<Distillation>();
  readonly #making = new Set<Distillation>();
  /** Counts resolutions: only the latest may move the endpoints. */
  #round = 0;
  #settled = 0;
  /** How many are under way, those included that will give up. */
  #resolving = 0;
  #disposed = false;
  /** Revision that the latest resolution brings. */
  #coming = 0;
  #forerunner: Forerunner | undefined;

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

  /** Whether some endpoint has it. */
  get inUse(): boolean {
    for (const { users } of this.#distillations) for (const user of users) if (user !== this.#forerunner) return true;
    return false;
  }

  get enforced(): { readonly ingress: boolean; readonly egress: boolean } {
    return { ingress: this.#directions.ingress.enforced, egress: this.#directions.egress.enforced };
  }

  get defaultDeny(): EndpointPolicy['defaultDeny'] {
    return { ingress: this.#directions.ingress.defaultDeny, egress: this.#directions.egress.defaultDeny };
  }

  get audited(): EndpointPolicy['audited'] {
    return { ingress: this.#directions.ingress.audited, egress: this.#directions.egress.audited };
  }

  /** The repository has changed, but none of the rules that select the identity. */
  unaffected(revision: number): void {
    this.#coming = revision;
    if (this.isSettled) this.revision = revision;
  }

  /**
   * Resolves the rules again and moves every endpoint to the result, in slices of a few milliseconds. Rules that contradict
   * each other leave what is in force as it is, and {@link error} says why. A later resolution makes an earlier one that is
   * still under way give up, and brings all endpoints to its own result.
   */
  *resolve(): Generator<void, void, void> {
    this.#resolving++;
    try {
      yield* this.#resolveRound(++this.#round);
    } finally {
      this.#resolving--;
    }
  }

  /** Has everything ready for an endpoint with these ports by name, in slices. */
  *prepare(namedPorts: readonly NamedPort[]): Generator<void, void, void> {
    // Many endpoints of one identity may come at once: one of them does the work, the others wait.
    while (!this.isSettled && !this.#disposed) {
      if (this.#resolving > 0) yield;
      else yield* this.resolve();
    }
    while (this.#making.size > 0) yield;
    const distillation = yield* this.#distilling(namedPorts);
    this.#dropForerunner();
    if (!this.#disposed) distillation.users.add((this.#forerunner = new Forerunner(namedPorts)));
    else this.#disposeUnused(distillation);
  }

  /** The distillation for the user's ports by name, which it uses from now on. */
  attach(user: PolicyUser): Distilled {
    const distillation = drained(this.#distilling(user.namedPorts));
    distillation.users.add(user);
    this.#dropForerunner();
    return distillation;
  }

  detach(user: PolicyUser): void {
    for (const distillation of this.#distillations) {
      if (distillation.users.delete(user)) this.#disposeUnused(distillation);
    }
  }

  /** Lets `move` attach the user anew before what it used is given up, so that selectors in common are not evaluated again. */
  detachLater(user: PolicyUser, move: () => void): void {
    const former = [...this.#distillations].filter(({ users }) => users.delete(user));
    move();
    for (const distillation of former) this.#disposeUnused(distillation);
  }

  /** Tells the endpoints that share a state what moved in it. */
  announce(state: DirectionState, moved: readonly ClassChange[]): void {
    for (const { ingress, egress, users } of this.#distillations) {
      if (state !== ingress && state !== egress) continue;
      for (const user of users) user.moved(state.direction, moved);
    }
  }

  *cookies(): Iterable<number> {
    for (const { ingress, egress } of [...this.#distillations, ...this.#making]) {
      yield* ingress.cookies();
      yield* egress.cookies();
    }
  }

  /** Gives everything up; work under way ends at its next slice. */
  dispose(): void {
    this.#disposed = true;
    this.#round++;
    this.#forerunner = undefined;
    for (const distillation of this.#distillations) {
      distillation.users.clear();
      this.#disposeUnused(distillation);
    }
  }

  *#resolveRound(round: number): Generator<void, void, void> {
    this.#coming = this.#parts.repository.revision;
    let error: WeirError | undefined;
    try {
      const sources = yield* this.#findSources();
      const directions = yield* this.#resolveDirections(sources);
      if (round !== this.#round) return;
      this.#sources = sources;
      this.#directions = directions;
    } catch (thrown) {
      if (!(thrown instanceof WeirError)) throw thrown;
      if (round !== this.#round) return;
      error = thrown;
    }
    this.error = error;
    yield* this.#moveUsers(round);
    if (round !== this.#round) return;
    this.#settled = round;
    this.revision = this.#coming;
    if (error === undefined) return;
    for (const { users, ingress, egress } of this.#distillations) {
      for (const user of users) user.resolved({ ingress, egress });
    }
  }

  *#findSources(): Generator<void, Sources, void> {
    const { repository, selectors, pace } = this.#parts;
    const rules = selectors.config.enforcement === 'never' ? [] : yield* repository.selecting(this.record, pace);
    const subject = subjectOf(this.record);
    return {
      ingress: { rules: rules.filter((rule) => rule.selects.ingress), subject },
      egress: { rules: rules.filter((rule) => rule.selects.egress), subject },
    };
  }

  /** Most changes are about one direction: what is said about the other stays as it is, down to its tables. */
  *#resolveDirections(sources: Sources): Generator<void, Directions, void> {
    const { selectors, pace } = this.#parts;
    const [known, last] = [this.#sources, this.#directions];
    const next = { ...last };
    for (const direction of DIRECTIONS) {
      const { rules, subject } = sources[direction];
      if (known !== undefined && isSameSource(known[direction], sources[direction])) continue;
      next[direction] = yield* resolvingDirection(direction, rules, subject, selectors, pace);
    }
    return DIRECTIONS.every((direction) => next[direction] === last[direction]) ? last : next;
  }

  /** Brings every user to the latest directions, one after the other. What one of them is told comes in one piece. */
  *#moveUsers(round: number): Generator<void, void, void> {
    const { cache, pace } = this.#parts;
    for (const former of [...this.#distillations]) {
      if (former.directions === this.#directions) continue;
      for (const user of [...former.users]) {
        const next = yield* this.#distilling(user.namedPorts);
        // A later round may have begun, or the endpoint be gone.
        if (round === this.#round && former.users.delete(user)) {
          next.users.add(user);
          const changed = user.resolved(next);
          if (pace.due(changed / CHANGES_PER_UNIT + (2 * cache.identities.slotLimit) / SLOTS_PER_UNIT)) yield;
        }
        this.#disposeUnused(next);
        if (round !== this.#round) return;
      }
      this.#disposeUnused(former);
    }
  }

  /** The latest directions, distilled for these ports by name: as it is there already, or made in slices. */
  *#distilling(namedPorts: readonly NamedPort[]): Generator<void, Distillation, void> {
    const directions = this.#directions;
    const ports = portsKey(directions, namedPorts);
    for (const known of this.#distillations) {
      if (known.directions === directions && known.ports === ports) return known;
    }
    const [ingress, egress] = [this.#stateOf(directions, 'ingress', ports), this.#stateOf(directions, 'egress', ports)];
    const made: Distillation = {
      ingress: ingress ?? new DirectionState(directions.ingress, namedPorts, this.#parts),
      egress: egress ?? new DirectionState(directions.egress, namedPorts, this.#parts),
      directions,
      ports,
      users: new Set(),
    };
    this.#hold(made);
    this.#making.add(made);
    try {
      if (ingress === undefined) yield* made.ingress.make();
      if (egress === undefined) yield* made.egress.make();
      this.#distillations.add(made);
    } finally {
      this.#making.delete(made);
      if (!this.#distillations.has(made)) this.#letGo(made);
    }
    return made;
  }

  /** The state of a direction of which nothing has changed, if there is one that is made. */
  #stateOf(directions: Directions, direction: Direction, ports: string): DirectionState | undefined {
    for (const known of this.#distillations) {
      if (known.directions[direction] !== directions[direction]) continue;
      // Names of ports are the endpoint's own in one direction alone (S35).
      if (direction === 'egress' || known.ports === ports) return known[direction];
    }
    return undefined;
  }

  #hold(distilled: Distilled): void {
    for (const direction of DIRECTIONS) {
      const state = distilled[direction];
      this.#holders.set(state, (this.#holders.get(state) ?? 0) + 1);
    }
  }

  #letGo(distilled: Distilled): void {
    for (const direction of DIRECTIONS) {
      const state = distilled[direction];
      const left = this.#holders.get(state)! - 1;
      if (left > 0) this.#holders.set(state, left);
      else if (this.#holders.delete(state)) state.dispose();
    }
  }

  #dropForerunner(): void {
    const forerunner = this.#forerunner;
    this.#forerunner = undefined;
    if (forerunner !== undefined) this.detach(forerunner);
  }

  #disposeUnused(distillation: Distillation): void {
    if (distillation.users.size === 0 && this.#distillations.delete(distillation)) this.#letGo(distillation);
  }
}

/** Endpoints whose ports by name mean the same to the ingress rules share a distillation. */
function portsKey({ ingress }: Directions, ports: readonly NamedPort[]): string {
  const names = new Set(ingress.filters.map(({ portName }) => portName.toLowerCase()));
  return ports
    .filter(({ name }) => names.has(name.toLowerCase()))
    .map(({ name, port, protocol }) => `${name}/${port}/${protocol}`)
    .sort()
    .join(' ');
}

function isSameSource(a: Source, b: Source): boolean {
  return (
    a.subject.isHost === b.subject.isHost &&
    a.subject.isInit === b.subject.isInit &&
    a.subject.namespace === b.subject.namespace &&
    a.rules.length === b.rules.length &&
    a.rules.every((rule, i) => rule === b.rules[i])
  );
}
