/**
 * From labels to the selectors that may select them. Each term of a selector is filed under one of its tests, the one
 * that the fewest others are filed under, so that a new identity meets only selectors that it has something to do
 * with.
 */
import type { Cidr } from '../model/address.ts';
import { LABEL } from '../model/labels.ts';
import { prefixKey } from './prefix.ts';
import { isPositive, type Labelled, type Term, type Test } from './term.ts';

/** Keys whose values many share: a term is filed under another of its tests if it has one. */
const COMMON: ReadonlyMap<string, number> = new Map([
  [LABEL.podNamespace, 1e6],
  [LABEL.cluster, 1e9],
]);

interface Drawer<T> {
  readonly exists: Set<T>;
  readonly values: Map<string, Set<T>>;
}

/** Where an item is filed. */
export type Filing<T> = readonly Set<T>[];

export class AnchorIndex<T> {
  /** By key, then by the source that the selector wants; empty for any. */
  readonly #labels = new Map<string, Map<string, Drawer<T>>>();
  /** By prefix. */
  readonly #prefixes = new Map<string, Set<T>>();
  /** How many prefixes of each length there are, by `family/length`. */
  readonly #lengths = new Map<number, number>();
  /** Terms without a positive requirement may select anything. */
  readonly #anything = new Set<T>();

  /** Files an item; what it gives takes the item out again. */
  add(item: T, terms: readonly Term[]): Filing<T> {
    const sets = terms.length === 1 ? this.#drawerOf(terms[0]!) : terms.flatMap((term) => this.#drawerOf(term));
    for (const set of sets) set.add(item);
    return sets;
  }

  /** Empty drawers stay: what was selected once is selected again. */
  remove(item: T, filing: Filing<T>): void {
    for (const set of filing) set.delete(item);
  }

  /** Calls `visit` for all that may select the record, some more than once. */
  candidates(record: Labelled, visit: (item: T) => void): void {
    for (const label of record.labels) {
      const bySource = this.#labels.get(label.key);
      if (bySource === undefined) continue;
      visitDrawer(bySource.get(label.source), label.value, visit);
      visitDrawer(bySource.get(''), label.value, visit);
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
    let bestCost = Infinity;
    for (const test of term.tests) {
      if (!isPositive(test)) continue;
      const sets = this.#setsOf(test);
      const cost = sets.reduce((sum, set) => sum + set.size, COMMON.get(test.key) ?? 0);
      if (cost >= bestCost) continue;
      best = sets;
      bestCost = cost;
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

  #setsOf({ source, key, operator, values }: Test): readonly Set<T>[] {
    let bySource = this.#labels.get(key);
    if (bySource === undefined) this.#labels.set(key, (bySource = new Map<string, Drawer<T>>()));
    let drawer = bySource.get(source);
    if (drawer === undefined) bySource.set(source, (drawer = { exists: new Set(), values: new Map() }));
    if (operator === 'Exists') return [drawer.exists];
    return values.map((value) => {
      let set = drawer.values.get(value);
      if (set === undefined) drawer.values.set(value, (set = new Set()));
      return set;
    });
  }
}

function visitDrawer<T>(drawer: Drawer<T> | undefined, value: string, visit: (item: T) => void): void {
  if (drawer === undefined) return;
  if (drawer.exists.size > 0) drawer.exists.forEach(visit);
  drawer.values.get(value)?.forEach(visit);
}
