/**
 * One direction of a resolved policy, spread over the identities that exist. Identities that the same selectors select
 * have the same entries and share them: a *class*. Ten thousand identities of a hundred classes are a hundred tables and
 * an array of class numbers, whatever the number of map entries they stand for.
 */
import type { Direction } from '../model/mapstate.ts';
import { Classes, NO_CLASS } from './classes.ts';
import type { NamedPort, Redirect, RedirectPolicy } from './contract.ts';
import type { CookieTable } from './cookies.ts';
import { resolveTable } from './decision.ts';
import { PortTable, type Item } from './entry.ts';
import { entryOf, itemsOf, portsByName, portsOf, redirectOf, type PortRange } from './items.ts';
import type { DirectionPolicy, Filter, FilterPeer } from './l4policy.ts';
import type { PeerPolicy } from './peerpolicy.ts';
import type { SelectorSpec } from './selector.ts';
import type { Selector, SelectorCache, SelectorUser } from './selectorcache.ts';

/** What applies to all identities that a selector selects. */
interface Group {
  readonly items: Item[];
  /** Egress ports by name: each destination has its own numbers for them (S35). */
  readonly named: { readonly filter: Filter; readonly policy: PeerPolicy }[];
  /** Undefined for peers of every kind. */
  readonly selector: Selector | undefined;
}

/** What became of one identity's entries. */
export interface ClassChange {
  readonly slot: number;
  readonly before: PortTable;
  readonly after: PortTable;
}

export class DirectionState implements SelectorUser {
  readonly direction: Direction;
  readonly enforced: boolean;
  readonly warnings: string[] = [];
  /** Entries of identity 0. */
  readonly any: PortTable;
  readonly #policy: DirectionPolicy;
  readonly #cache: SelectorCache;
  readonly #cookies: CookieTable;
  readonly #endpointPorts: readonly NamedPort[];
  readonly #redirects = new Map<string, Redirect>();
  readonly #groups: Group[] = [];
  readonly #groupOf = new Map<Selector, number>();
  readonly #anyItems: Item[] = [];
  /** Groups past these are variants. */
  readonly #plainGroups: number;
  /** Which of them have items. */
  readonly #plain: readonly boolean[];
  /** Groups with egress ports by name, and for each the groups that they become with given numbers. */
  readonly #namedGroups: number[] = [];
  readonly #variants = new Map<string, number>();
  #entangled = false;
  readonly #classes: Classes;
  #classOf = new Int32Array(0);
  #size = 0;
  /** For each touched slot the groups that it came into, and as complements those that it left. */
  readonly #pending = new Map<number, number[]>();
  readonly #onPending: (state: DirectionState) => void;

  constructor(
    policy: DirectionPolicy,
    endpointPorts: readonly NamedPort[],
    cache: SelectorCache,
    cookies: CookieTable,
    onPending: (state: DirectionState) => void,
  ) {
    this.direction = policy.direction;
    this.enforced = policy.enforced;
    this.#policy = policy;
    this.#cache = cache;
    this.#cookies = cookies;
    this.#endpointPorts = endpointPorts;
    this.#onPending = onPending;
    for (const filter of policy.filters) for (const peer of filter.peers.values()) this.#addPeer(filter, peer);
    this.#plainGroups = this.#groups.length;
    this.#plain = this.#groups.map(({ items }) => items.length > 0);
    this.any = resolveTable(this.#anyItems, undefined, this.#entangled, this.#union);
    this.#size = this.any.size;
    this.#classes = new Classes((groups) => this.#tableOf(groups));
    this.#classify();
  }

  /** Number of map entries, those of identity 0 included. */
  get size(): number {
    return this.#size;
  }

  /** Entries of the identity in a slot, without those of identity 0. */
  table(slot: number | undefined): PortTable {
    return slot === undefined ? PortTable.EMPTY : this.#classes.table(this.#classOf[slot] ?? NO_CLASS);
  }

  /** Whether the ports by name of other identities matter. */
  get usesPortNames(): boolean {
    return this.#namedGroups.length > 0;
  }

  /** No slot from here on has entries of its own. */
  get slotLimit(): number {
    return this.#classOf.length;
  }

  redirects(): Iterable<Redirect> {
    return this.#redirects.values();
  }

  /** Cookies of all entries that some identity has or may come to have. */
  *cookies(): Iterable<number> {
    for (const { entry } of this.#anyItems) yield entry.cookie;
    for (const { items } of this.#groups) for (const { entry } of items) yield entry.cookie;
    for (const table of [this.any, ...this.#classes.tables()]) for (const { cookie } of table.entries) yield cookie;
  }

  redirectPolicies(): readonly RedirectPolicy[] {
    return this.#policy.filters.flatMap((filter) =>
      [...filter.peers.values()]
        .filter(({ policy }) => policy.parser !== '')
        .map(({ selector, policy }) => this.#redirectPolicy(filter, selector.text, selector.wildcard, policy)),
    );
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
    for (const [slot, moves] of this.#pending) {
      const before = this.table(slot);
      this.#setClass(slot, this.#classes.find(this.#groupsAfter(slot, moves)));
      const after = this.table(slot);
      if (after !== before) changes.push({ slot, before, after });
    }
    this.#pending.clear();
    return changes;
  }

  /** The groups that make up the class of a touched slot, ascending. */
  #groupsAfter(slot: number, moves: readonly number[]): readonly number[] {
    const node = this.#classOf[slot] ?? NO_CLASS;
    const groups = this.#classes.groups(node).filter((group) => group < this.#plainGroups);
    for (const move of moves) {
      const group = move < 0 ? ~move : move;
      const at = groups.indexOf(group);
      if (move < 0 && at >= 0) groups.splice(at, 1);
      else if (move >= 0 && at < 0 && this.#plain[group] === true) groups.push(group);
    }
    if (this.#namedGroups.length > 0 && this.#cache.identities.record(slot) !== undefined) {
      groups.push(...this.#variantsFor(slot));
    }
    return groups.sort((a, b) => a - b);
  }

  dispose(): void {
    for (const selector of this.#groupOf.keys()) this.#cache.release(selector, this);
    this.#pending.clear();
  }

  readonly #union = (a: number, b: number): number => this.#cookies.union(a, b);

  #touch(slot: number): number[] {
    let moves = this.#pending.get(slot);
    if (moves === undefined) {
      if (this.#pending.size === 0) this.#onPending(this);
      this.#pending.set(slot, (moves = []));
    }
    return moves;
  }

  #setClass(slot: number, node: number): void {
    if (slot >= this.#classOf.length) {
      const grown = new Int32Array(Math.max(this.#cache.identities.slotLimit, slot + 1, this.#classOf.length * 2));
      grown.set(this.#classOf);
      this.#classOf = grown;
    }
    this.#size += this.#classes.table(node).size - this.#classes.table(this.#classOf[slot]!).size;
    this.#classOf[slot] = node;
  }

  /** Gives every identity its class: one step down the tree of classes for each selector that selects it. */
  #classify(): void {
    const classOf = (this.#classOf = new Int32Array(this.#cache.identities.slotLimit));
    for (const [index, { selector, items }] of this.#groups.entries()) {
      if (selector === undefined || items.length === 0) continue;
      this.#classes.descend(classOf, selector.selection.members, index);
    }
    if (this.#namedGroups.length > 0) this.#classifyNamed();
    const members = new Uint32Array(this.#classes.count);
    for (const node of classOf) members[node]!++;
    for (let node = 1; node < members.length; node++) {
      if (members[node]! > 0) this.#size += this.#classes.table(node).size * members[node]!;
    }
  }

  #classifyNamed(): void {
    const { identities } = this.#cache;
    for (let slot = 0; slot < identities.slotLimit; slot++) {
      if (identities.record(slot) === undefined || identities.namedPorts(slot).length === 0) continue;
      for (const variant of [...this.#variantsFor(slot)].sort((a, b) => a - b)) {
        this.#classes.descend(this.#classOf, [slot], variant);
      }
    }
  }

  #addPeer(filter: Filter, { selector, policy }: FilterPeer): void {
    if (policy.verdict === 'pass' || policy.auth !== undefined) this.#entangled = true;
    const named = filter.portName !== '' && this.direction === 'egress';
    if (named) {
      const index = this.#group(selector);
      const group = this.#groups[index]!;
      if (group.named.length === 0) this.#namedGroups.push(index);
      group.named.push({ filter, policy });
    } else {
      const items = this.#items(filter, policy, this.#portsOf(filter));
      if (selector.wildcard) this.#anyItems.push(...items);
      else this.#groups[this.#group(selector)]!.items.push(...items);
    }
  }

  /** The group of a selector, which it acquires; every wildcard has a group of its own. */
  #group(spec: SelectorSpec): number {
    if (spec.wildcard) return this.#groups.push({ items: [], named: [], selector: undefined }) - 1;
    const selector = this.#cache.acquire(spec, this, this.#groups.length);
    const known = this.#groupOf.get(selector);
    if (known !== undefined) {
      this.#cache.release(selector, this);
      return known;
    }
    const index = this.#groups.push({ items: [], named: [], selector }) - 1;
    this.#groupOf.set(selector, index);
    return index;
  }

  /** Ports that the filter means on this endpoint. */
  #portsOf(filter: Filter): readonly PortRange[] {
    const ports = portsOf(filter, this.#endpointPorts);
    if (ports.length === 0) {
      this.warnings.push(`port ${filter.portName} of ${this.direction} rules is unknown on this endpoint`);
    }
    return ports;
  }

  #items(filter: Filter, policy: PeerPolicy, ports: readonly PortRange[]): readonly Item[] {
    const cookie = this.#cookies.of(policy);
    return ports.flatMap((range) => {
      const redirect = policy.parser === '' ? undefined : this.#redirect(filter.protocol, range.port, policy);
      return itemsOf(filter, range, entryOf(filter.level, policy, redirect, cookie));
    });
  }

  #redirect(protocol: number, port: number, policy: PeerPolicy): Redirect {
    const made = redirectOf(this.direction, protocol, port, policy);
    const known = this.#redirects.get(made.id);
    if (known === undefined) this.#redirects.set(made.id, made);
    return known ?? made;
  }

  #redirectPolicy(filter: Filter, selector: string, wildcard: boolean, policy: PeerPolicy): RedirectPolicy {
    const cached = [...this.#groupOf.keys()].find(({ text }) => text === selector);
    const ids = Array.from(cached?.selection.members ?? [], (slot) => this.#cache.identities.idOf(slot));
    const { parser, rules, terminatingTLS, originatingTLS, serverNames } = policy;
    return {
      redirect: this.#redirect(filter.protocol, filter.port, policy),
      endPort: filter.endPort,
      portName: filter.portName,
      selector,
      wildcard,
      identities: ids.sort((a, b) => a - b),
      l7: {
        parser,
        rules,
        ...(terminatingTLS === undefined ? {} : { terminatingTLS }),
        ...(originatingTLS === undefined ? {} : { originatingTLS }),
        ...(serverNames.length === 0 ? {} : { serverNames }),
      },
      origins: policy.sources.map(({ stanza }) => stanza.origin),
    };
  }

  #tableOf(groups: readonly number[]): PortTable {
    const items = groups.flatMap((group) => this.#groups[group]!.items);
    const broader = { items: this.#anyItems, table: this.any };
    return resolveTable(items, broader, this.#entangled, this.#union);
  }

  /** The groups that an identity's own ports by name put it into. */
  #variantsFor(slot: number): readonly number[] {
    const out: number[] = [];
    const ports = this.#cache.identities.namedPorts(slot);
    if (ports.length === 0) return out;
    for (const index of this.#namedGroups) {
      const { selector, named } = this.#groups[index]!;
      if (selector !== undefined && !selector.selection.has(slot)) continue;
      const numbers = named.map(({ filter }) => portsByName(ports, filter.portName, filter.protocol));
      if (numbers.every((list) => list.length === 0)) continue;
      out.push(this.#variant(index, numbers));
    }
    return out;
  }

  #variant(index: number, numbers: readonly (readonly number[])[]): number {
    const key = `${index}/${numbers.join('/')}`;
    let variant = this.#variants.get(key);
    if (variant === undefined) {
      const items = this.#groups[index]!.named.flatMap(({ filter, policy }, i) =>
        this.#items(
          filter,
          policy,
          numbers[i]!.map((port) => ({ port, endPort: 0 })),
        ),
      );
      variant = this.#groups.push({ items, named: [], selector: undefined }) - 1;
      this.#variants.set(key, variant);
    }
    return variant;
  }
}
