/** Sets of name selectors. Equal sets are one object, for addresses of one set share one identity (S22). */

/** A set of selectors, each as its policy wrote it: the key of the `fqdn:` label it stands for. */
export interface SelectorSet {
  /** Sorted, without repetition. */
  readonly selectors: readonly string[];
}

export const NO_SELECTORS: SelectorSet = { selectors: [] };

/** Gives equal sets the same object. */
export class SelectorSets {
  readonly #byKey = new Map<string, SelectorSet>();

  of(selectors: Iterable<string>): SelectorSet {
    const sorted = [...new Set(selectors)].sort();
    if (sorted.length === 0) return NO_SELECTORS;
    // No selector holds a space.
    const key = sorted.join(' ');
    const known = this.#byKey.get(key);
    if (known !== undefined) return known;
    const set = { selectors: sorted };
    this.#byKey.set(key, set);
    return set;
  }

  union(a: SelectorSet, b: SelectorSet): SelectorSet {
    if (a === b || b === NO_SELECTORS) return a;
    return a === NO_SELECTORS ? b : this.of([...a.selectors, ...b.selectors]);
  }

  /** Forgets sets that hold a selector that is no more; nobody may use them from here on. */
  drop(gone: ReadonlySet<string>): void {
    for (const [key, { selectors }] of this.#byKey) {
      if (selectors.some((selector) => gone.has(selector))) this.#byKey.delete(key);
    }
  }
}
