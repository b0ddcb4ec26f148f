/**
 * From labels to the selectors that may select them. Each term of a selector is filed under one of its requirements, the
 * one that the fewest others are filed under, so that a new identity meets only selectors that it has something to do
 * with.
 */
import type { Cidr } from '../model/address.ts';
import type { IdentityRecord } from './identities.ts';
import { prefixKey } from './prefix.ts';
import type { Requirement } from './rule.ts';
import { splitKey, type Term } from './selector.ts';

interface Drawer<T> {
  readonly exists: Set<T>;
  readonly values: Map<string, Set<T>>;
}

export class AnchorIndex<T> {
  /** By key, then by the source that the selector wants. */
  readonly #labels = new Map<string, Map<string, Drawer<T>>>();
  /** By prefix. */
  readonly #prefixes = new Map<string, Set<T>>();
  /** How many prefixes of each length there are, by `family/length`. */
  readonly #lengths = new Map<number, number>();
  /** Terms without a positive requirement may select anything. */
  readonly #anything = new Set<T>();
  readonly #filed = new Map<T, readonly Set<T>[]>();

  add(item: T, terms: readonly Term[]): void {
    const sets = terms.flatMap((term) => this.#drawerOf(term));
    for (const set of sets) set.add(item);
    this.#filed.set(item, sets);
  }

  /** Empty drawers stay: what was selected once is selected again. */
  remove(item: T): void {
    for (const set of this.#filed.get(item) ?? []) set.delete(item);
    this.#filed.delete(item);
  }

  /** Calls `visit` for all that may select the record, some more than once. */
  candidates(record: IdentityRecord, visit: (item: T) => void): void {
    for (const label of record.labels) {
      const bySource = this.#labels.get(label.key);
      if (bySource === undefined) continue;
      for (const source of [label.source, 'any']) {
        const drawer = bySource.get(source);
        if (drawer === undefined) continue;
        drawer.exists.forEach(visit);
        drawer.values.get(label.value)?.forEach(visit);
      }
    }
    for (const prefix of record.cidrs) this.#covering(prefix, visit);
    this.#anything.forEach(visit);
  }

  #covering(prefix: Cidr, visit: (item: T) => void): void {
    const { bytes } = prefix.address;
    for (const length of this.#lengths.keys()) {
      if (length >> 8 !== bytes.length || (length & 255) > prefix.length) continue;
      this.#prefixes.get(prefixKey(bytes, length & 255))?.forEach(visit);
    }
  }

  #drawerOf(term: Term): readonly Set<T>[] {
    const prefix = term.cidrs[0];
    if (prefix !== undefined) return [this.#prefixSet(prefix)];
    let best: readonly Set<T>[] | undefined;
    let bestSize = Infinity;
    for (const requirement of term.requirements) {
      const sets = this.#setsOf(requirement);
      if (sets === undefined) continue;
      const size = sets.reduce((sum, set) => sum + set.size, 0);
      // Of two equal ones the earlier stands: keys are sorted, and `app` says more than a namespace does.
      if (size < bestSize) {
        best = sets;
        bestSize = size;
      }
    }
    return best ?? [this.#anything];
  }

  #prefixSet({ address, length }: Cidr): Set<T> {
    const key = prefixKey(address.bytes, length);
    let set = this.#prefixes.get(key);
    if (set === undefined) {
      this.#prefixes.set(key, (set = new Set()));
      this.#lengths.set((address.bytes.length << 8) | length, 1);
    }
    return set;
  }

  #setsOf({ key: full, operator, values }: Requirement): readonly Set<T>[] | undefined {
    if (operator !== 'In' && operator !== 'Exists') return undefined;
    const [source, key] = splitKey(full);
    let bySource = this.#labels.get(key);
    if (bySource === undefined) this.#labels.set(key, (bySource = new Map<string, Drawer<T>>()));
    const wanted = source === 'unspec' ? 'any' : source;
    let drawer = bySource.get(wanted);
    if (drawer === undefined) bySource.set(wanted, (drawer = { exists: new Set(), values: new Map() }));
    if (operator === 'Exists') return [drawer.exists];
    return values.map((value) => {
      let set = drawer.values.get(value);
      if (set === undefined) drawer.values.set(value, (set = new Set()));
      return set;
    });
  }
}
