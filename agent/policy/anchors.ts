/**
 * From labels to the selectors that may select them. Each term of a selector is filed under one of its tests, the one
 * that the fewest others are filed under, so that a new identity meets only selectors that it has something to do
 * with.
 */
import { prefixKey, type Cidr } from '../model/address.ts';
import { LABEL } from '../model/labels.ts';
import { isPositive, type Labelled, type Term, type Test } from './term.ts';

/** Keys whose values many share: a term is filed under another of its tests if it has one. */
const COMMON: ReadonlyMap<string, number> = new Map([
  [LABEL.podNamespace, 1e6],
  [LABEL.cluster, 1e9],
]);

/** An item under one test of one of its terms, and what is left of the term: whoever was led here passes that test. */
export interface Filed<T> extends Term {
  readonly item: T;
}

type Bin<T> = Set<Filed<T>>;

interface Drawer<T> {
  readonly exists: Bin<T>;
  readonly values: Map<string, Bin<T>>;
}

/** Where an item is filed: term by term. */
export type Filing<T> = readonly { readonly filed: Filed<T>; readonly bins: readonly Bin<T>[] }[];

export class AnchorIndex<T> {
  /** By key, then by the source that the selector wants; empty for any. */
  readonly #labels = new Map<string, Map<string, Drawer<T>>>();
  /** By prefix. */
  readonly #prefixes = new Map<string, Bin<T>>();
  /** How many prefixes of each length there are, by `family/length`. */
  readonly #lengths = new Map<number, number>();
  /** Terms without a positive requirement may select anything. */
  readonly #anything: Bin<T> = new Set();

  /** Files an item; what it gives takes the item out again. */
  add(item: T, terms: readonly Term[]): Filing<T> {
    return terms.map((term) => this.#file(item, term));
  }

  /** Empty drawers stay: what was selected once is selected again. */
  remove(filing: Filing<T>): void {
    for (const { filed, bins } of filing) for (const bin of bins) bin.delete(filed);
  }

  /** Calls `visit` for all that may select the record: those that do pass what is left of their term. Some come twice. */
  candidates(record: Labelled, visit: (filed: Filed<T>) => void): void {
    for (const label of record.labels) {
      const bySource = this.#labels.get(label.key);
      if (bySource === undefined) continue;
      visitDrawer(bySource.get(label.source), label.value, visit);
      visitDrawer(bySource.get(''), label.value, visit);
    }
    for (const prefix of record.cidrs) this.#covering(prefix, visit);
    this.#anything.forEach(visit);
  }

  #covering(prefix: Cidr, visit: (filed: Filed<T>) => void): void {
    const { bytes } = prefix.address;
    for (const length of this.#lengths.keys()) {
      if (length >> 8 !== bytes.length || (length & 255) > prefix.length) continue;
      this.#prefixes.get(prefixKey(bytes, length & 255))?.forEach(visit);
    }
  }

  #file(item: T, { tests, cidrs, except }: Term): Filing<T>[number] {
    const [prefix, ...others] = cidrs;
    if (prefix !== undefined) return put({ item, tests, cidrs: others, except }, [this.#prefixBin(prefix)]);
    let best: { readonly test: Test; readonly bins: readonly Bin<T>[] } | undefined;
    let bestCost = Infinity;
    for (const test of tests) {
      if (!isPositive(test)) continue;
      const bins = this.#binsOf(test);
      const cost = bins.reduce((sum, bin) => sum + bin.size, COMMON.get(test.key) ?? 0);
      if (cost >= bestCost) continue;
      best = { test, bins };
      bestCost = cost;
    }
    const left = best === undefined ? tests : tests.filter((test) => test !== best.test);
    return put({ item, tests: left, cidrs, except }, best?.bins ?? [this.#anything]);
  }

  #prefixBin({ address, length }: Cidr): Bin<T> {
    const key = prefixKey(address.bytes, length);
    let bin = this.#prefixes.get(key);
    if (bin === undefined) {
      this.#prefixes.set(key, (bin = new Set()));
      this.#lengths.set((address.bytes.length << 8) | length, 1);
    }
    return bin;
  }

  #binsOf({ source, key, operator, values }: Test): readonly Bin<T>[] {
    let bySource = this.#labels.get(key);
    if (bySource === undefined) this.#labels.set(key, (bySource = new Map<string, Drawer<T>>()));
    let drawer = bySource.get(source);
    if (drawer === undefined) bySource.set(source, (drawer = { exists: new Set(), values: new Map() }));
    if (operator === 'Exists') return [drawer.exists];
    return values.map((value) => {
      let bin = drawer.values.get(value);
      if (bin === undefined) drawer.values.set(value, (bin = new Set()));
      return bin;
    });
  }
}

function put<T>(filed: Filed<T>, bins: readonly Bin<T>[]): Filing<T>[number] {
  for (const bin of bins) bin.add(filed);
  return { filed, bins };
}

function visitDrawer<T>(drawer: Drawer<T> | undefined, value: string, visit: (filed: Filed<T>) => void): void {
  if (drawer === undefined) return;
  if (drawer.exists.size > 0) drawer.exists.forEach(visit);
  drawer.values.get(value)?.forEach(visit);
}
