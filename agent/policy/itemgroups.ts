/** What a resolved policy says, by whom it says it about: one group of items for each selector. */
import type { Direction } from '../model/mapstate.ts';
import type { NamedPort, Redirect, RedirectPolicy } from './contract.ts';
import type { CookieTable } from './cookies.ts';
import type { Item } from './entry.ts';
import { entryOf, itemsOf, portsByName, portsOf, redirectOf, type PortRange } from './items.ts';
import type { DirectionPolicy, Filter, FilterPeer } from './l4policy.ts';
import type { Pace } from './pace.ts';
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

/** Units of {@link Pace} for one peer of a filter, and for one of its items. */
const PEER_COST = 20;
const ITEM_COST = 10;

export class ItemGroups {
  readonly direction: Direction;
  readonly warnings: string[] = [];
  /** Of identity 0. */
  readonly anyItems: Item[] = [];
  /** Whether entries depend on others: there is a Pass, authentication, or an audited policy. */
  entangled = false;
  readonly #policy: DirectionPolicy;
  readonly #endpointPorts: readonly NamedPort[];
  readonly #cache: SelectorCache;
  readonly #cookies: CookieTable;
  readonly #redirects = new Map<string, Redirect>();
  readonly #groups: Group[] = [];
  readonly #groupOf = new Map<Selector, number>();
  /** Groups past these are variants. */
  #plainGroups = Infinity;
  /** Which groups have items. */
  #plain: readonly boolean[] = [];
  /** Groups with egress ports by name, and for each the groups that they become with given numbers. */
  readonly #namedGroups: number[] = [];
  readonly #variants = new Map<string, number>();

  constructor(
    policy: DirectionPolicy,
    endpointPorts: readonly NamedPort[],
    cache: SelectorCache,
    cookies: CookieTable,
  ) {
    this.direction = policy.direction;
    this.#policy = policy;
    this.#endpointPorts = endpointPorts;
    this.#cache = cache;
    this.#cookies = cookies;
  }

  /** Makes the groups; from when its group is made, `user` is told under the group's number what a selector selects. */
  *build(user: SelectorUser, pace: Pace): Generator<void, void, void> {
    for (const filter of this.#policy.filters) {
      for (const peer of filter.peers.values()) {
        const tested = this.#cache.identities.tested;
        const made = this.#addPeer(filter, peer, user);
        if (pace.due(PEER_COST + ITEM_COST * made + this.#cache.identities.tested - tested)) yield;
      }
    }
    this.#plainGroups = this.#groups.length;
    this.#plain = this.#groups.map(({ items }) => items.length > 0);
  }

  /** Whether the ports by name of other identities matter. */
  get usesPortNames(): boolean {
    return this.#namedGroups.length > 0;
  }

  /** Whether it is the group of a selector, not a variant. */
  isPlain(group: number): boolean {
    return group < this.#plainGroups;
  }

  /** Whether the group has items, which apply to all that its selector selects. */
  hasItems(group: number): boolean {
    return this.#plain[group] === true;
  }

  /** Groups with items, with their selectors, ascending. */
  *selected(): Iterable<readonly [group: number, selector: Selector]> {
    for (const [index, { selector, items }] of this.#groups.entries()) {
      if (selector !== undefined && items.length > 0) yield [index, selector];
    }
  }

  items(groups: readonly number[]): readonly Item[] {
    return groups.flatMap((group) => this.#groups[group]!.items);
  }

  redirects(): Iterable<Redirect> {
    return this.#redirects.values();
  }

  redirectPolicies(): readonly RedirectPolicy[] {
    return this.#policy.filters.flatMap((filter) =>
      [...filter.peers.values()]
        .filter(({ policy }) => policy.parser !== '')
        .map(({ selector, policy }) => this.#redirectPolicy(filter, selector.text, selector.wildcard, policy)),
    );
  }

  *cookies(): Iterable<number> {
    for (const { entry } of this.anyItems) yield entry.cookie;
    for (const { items } of this.#groups) for (const { entry } of items) yield entry.cookie;
  }

  /** The groups that an identity's own ports by name put it into, ascending. */
  variantsFor(slot: number): readonly number[] {
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
    return out.sort((a, b) => a - b);
  }

  /** Gives the selectors back. */
  release(user: SelectorUser): void {
    for (const selector of this.#groupOf.keys()) this.#cache.release(selector, user);
  }

  /** Gives how many items that made. */
  #addPeer(filter: Filter, { selector, policy }: FilterPeer, user: SelectorUser): number {
    if (policy.verdict === 'pass' || policy.auth !== undefined || filter.scope !== 'both') this.entangled = true;
    if (filter.portName !== '' && this.direction === 'egress') {
      const index = this.#group(selector, user);
      const group = this.#groups[index]!;
      if (group.named.length === 0) this.#namedGroups.push(index);
      group.named.push({ filter, policy });
      return 0;
    }
    const items = this.#items(filter, policy, this.#portsOf(filter));
    const target = selector.wildcard ? this.anyItems : this.#groups[this.#group(selector, user)]!.items;
    target.push(...items);
    return items.length;
  }

  /** The group of a selector, which it acquires; every wildcard has a group of its own. */
  #group(spec: SelectorSpec, user: SelectorUser): number {
    if (spec.wildcard) return this.#groups.push({ items: [], named: [], selector: undefined }) - 1;
    const selector = this.#cache.acquire(spec, user, this.#groups.length);
    const known = this.#groupOf.get(selector);
    if (known !== undefined) {
      this.#cache.release(selector, user);
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
