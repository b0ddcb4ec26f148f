/**
 * One direction of a resolved policy, spread over the identities that exist. Identities that the same selectors select
 * have the same entries and share them: a *class*. Ten thousand identities of a hundred classes are a hundred tables and
 * an array of class numbers, whatever the number of map entries they stand for.
 */
import type { Direction } from '../model/mapstate.ts';
import { Classes, NO_CLASS } from './classes.ts';
import type { NamedPort, Redirect, RedirectPolicy } from './contract.ts';
import type { CookieTable } from './cookies.ts';
import { resolveTable, SideItems } from './decision.ts';
import { PortTable } from './entry.ts';
import { ItemGroups } from './itemgroups.ts';
import type { DirectionPolicy } from './l4policy.ts';
import type { Pace } from './pace.ts';
import type { SelectorCache, SelectorUser } from './selectorcache.ts';

/** What became of one identity's entries. */
export interface ClassChange {
  readonly slot: number;
  readonly before: PortTable;
  readonly after: PortTable;
}

/** What all states of an engine share. */
export interface StateParts {
  readonly cache: SelectorCache;
  readonly cookies: CookieTable;
  readonly pace: Pace;
  /** A state has identities to move. */
  readonly onPending: (state: DirectionState) => void;
  /** From now on the state wants to hear of other identities' ports by name, if it uses any. */
  readonly onMade: (state: DirectionState) => void;
  readonly onDisposed: (state: DirectionState) => void;
}

/** Units of {@link Pace}: how many slots of a selection one is worth, and what one item of a table costs. */
const SLOTS_PER_UNIT = 8;
const TABLE_ITEM_COST = 2;

export class DirectionState implements SelectorUser {
  readonly direction: Direction;
  readonly enforced: boolean;
  readonly #parts: StateParts;
  readonly #groups: ItemGroups;
  readonly #classes: Classes;
  #any = PortTable.EMPTY;
  #anySide = new SideItems([], (a) => a);
  #classOf = new Int32Array(0);
  #size = 0;
  /** How many items were made into tables so far. */
  #resolved = 0;
  /** Whether every identity has its class. Until then changes only gather. */
  #made = false;
  /** For each touched slot the groups that it came into, and as complements those that it left. */
  readonly #pending = new Map<number, number[]>();

  /** Empty until {@link make} has come to its end. */
  constructor(policy: DirectionPolicy, endpointPorts: readonly NamedPort[], parts: StateParts) {
    this.direction = policy.direction;
    this.enforced = policy.enforced;
    this.#parts = parts;
    this.#groups = new ItemGroups(policy, endpointPorts, parts.cache, parts.cookies);
    this.#classes = new Classes((groups) => this.#tableOf(groups));
  }

  /** Spreads the policy over the identities, in slices; what happens to them meanwhile is in the result. */
  *make(): Generator<void, void, void> {
    const { pace } = this.#parts;
    yield* this.#groups.build(this, pace);
    this.#parts.onMade(this);
    this.#anySide = new SideItems(this.#groups.anyItems, this.#union);
    this.#any = resolveTable(this.#anySide, undefined, this.#groups.entangled, this.#union);
    if (pace.due(TABLE_ITEM_COST * this.#groups.anyItems.length)) yield;
    yield* this.#classify();
    yield* this.#makeTables();
    this.#made = true;
    this.flush();
  }

  /** Entries of identity 0. */
  get any(): PortTable {
    return this.#any;
  }

  get warnings(): readonly string[] {
    return this.#groups.warnings;
  }

  /** Number of map entries, those of identity 0 included. */
  get size(): number {
    return this.#size;
  }

  /** Entries of the identity in a slot, without those of identity 0. */
  table(slot: number | undefined): PortTable {
    return slot === undefined ? PortTable.EMPTY : this.#classes.table(this.#classOf[slot] ?? NO_CLASS);
  }

  /** The class of a slot: all identities of a class have one table. */
  classAt(slot: number): number {
    return slot < this.#classOf.length ? this.#classOf[slot]! : NO_CLASS;
  }

  tableOfClass(number: number): PortTable {
    return this.#classes.table(number);
  }

  /** Whether the ports by name of other identities matter. */
  get usesPortNames(): boolean {
    return this.#groups.usesPortNames;
  }

  /** No slot from here on has entries of its own. */
  get slotLimit(): number {
    return this.#classOf.length;
  }

  redirects(): Iterable<Redirect> {
    return this.#groups.redirects();
  }

  redirectPolicies(): readonly RedirectPolicy[] {
    return this.#groups.redirectPolicies();
  }

  /** Cookies of all entries that some identity has or may come to have. */
  *cookies(): Iterable<number> {
    yield* this.#groups.cookies();
    for (const table of [this.#any, ...this.#classes.tables()]) for (const { cookie } of table.entries) yield cookie;
  }

  /** Selectors are called by their groups. */
  selectionChanged(group: number, slot: number, added: boolean): void {
    this.#touch(slot).push(added ? group : ~group);
  }

  /** The identity came, went or has other ports by name. */
  identityChanged(slot: number): void {
    this.#touch(slot);
  }

  /** Moves the touched identities to their new classes. */
  flush(): readonly ClassChange[] {
    const changes: ClassChange[] = [];
    if (!this.#made) return changes;
    for (const [slot, moves] of this.#pending) {
      const before = this.table(slot);
      this.#setClass(slot, this.#classes.find(this.#groupsAfter(slot, moves)));
      const after = this.table(slot);
      if (after !== before) changes.push({ slot, before, after });
    }
    this.#pending.clear();
    return changes;
  }

  dispose(): void {
    this.#groups.release(this);
    this.#pending.clear();
    this.#parts.onDisposed(this);
  }

  /** The groups that make up the class of a touched slot, ascending. */
  #groupsAfter(slot: number, moves: readonly number[]): readonly number[] {
    const node = this.#classOf[slot] ?? NO_CLASS;
    const groups = this.#classes.groups(node).filter((group) => this.#groups.isPlain(group));
    for (const move of moves) {
      const group = move < 0 ? ~move : move;
      const at = groups.indexOf(group);
      if (move < 0 && at >= 0) groups.splice(at, 1);
      else if (move >= 0 && at < 0 && this.#groups.hasItems(group)) groups.push(group);
    }
    if (this.usesPortNames && this.#parts.cache.identities.record(slot) !== undefined) {
      groups.push(...this.#groups.variantsFor(slot));
    }
    return groups.sort((a, b) => a - b);
  }

  readonly #union = (a: number, b: number): number => this.#parts.cookies.union(a, b);

  #touch(slot: number): number[] {
    let moves = this.#pending.get(slot);
    if (moves === undefined) {
      if (this.#pending.size === 0) this.#parts.onPending(this);
      this.#pending.set(slot, (moves = []));
    }
    return moves;
  }

  #setClass(slot: number, node: number): void {
    this.#reach(slot);
    this.#size += this.#classes.table(node).size - this.#classes.table(this.#classOf[slot]!).size;
    this.#classOf[slot] = node;
  }

  /** Makes room for a slot. */
  #reach(slot: number): void {
    if (slot < this.#classOf.length) return;
    const grown = new Int32Array(Math.max(this.#parts.cache.identities.slotLimit, slot + 1, this.#classOf.length * 2));
    grown.set(this.#classOf);
    this.#classOf = grown;
  }

  /**
   * Gives every identity its class: one step down the tree of classes for each selector that selects it. A selection that
   * changes in between is right here or not; in either case the change is pending, and taking it in twice is no harm.
   */
  *#classify(): Generator<void, void, void> {
    const { cache, pace } = this.#parts;
    this.#classOf = new Int32Array(cache.identities.slotLimit);
    for (const [group, { selection }] of this.#groups.selected()) {
      const slots = selection.members;
      if (slots.length > 0) this.#reach(slots.at(-1)!);
      this.#classes.descend(this.#classOf, slots, group);
      if (pace.due(1 + slots.length / SLOTS_PER_UNIT)) yield;
    }
    if (!this.usesPortNames) return;
    for (let slot = 0; slot < cache.identities.slotLimit; slot++) {
      if (cache.identities.record(slot) === undefined) continue;
      this.#reach(slot);
      for (const variant of this.#groups.variantsFor(slot)) this.#classes.descend(this.#classOf, [slot], variant);
      if (pace.due(1)) yield;
    }
  }

  *#makeTables(): Generator<void, void, void> {
    const { pace } = this.#parts;
    this.#size = this.#any.size;
    const members = new Uint32Array(this.#classes.count);
    for (const node of this.#classOf) members[node]!++;
    for (let node = 1; node < members.length; node++) {
      if (members[node] === 0) continue;
      const resolved = this.#resolved;
      this.#size += this.#classes.table(node).size * members[node]!;
      if (pace.due(TABLE_ITEM_COST * (1 + this.#resolved - resolved))) yield;
    }
  }

  #tableOf(groups: readonly number[]): PortTable {
    const { entangled } = this.#groups;
    const items = this.#groups.items(groups);
    this.#resolved += items.length + (entangled ? this.#anySide.items.length : 0);
    const broader = { side: this.#anySide, table: this.#any };
    return resolveTable(new SideItems(items, this.#union), broader, entangled, this.#union);
  }
}
