/**
 * The same answers from maps of sets, with nothing kept between calls: the selectors of every address anew each time. The
 * oracle of the cache's tests, and the baseline of its bench. No limits, no zombies' times: a lease that ended is kept
 * until {@link NaiveNames.collect}.
 */
import { exactName, namePattern, type NamePattern } from '../../dns-proxy/rules/name-pattern.ts';

export class NaiveNames {
  readonly #endpoints = new Map<number, Map<string, Map<string, number>>>();
  #selectors = new Map<string, NamePattern>();

  select(selectors: readonly { readonly matchName?: string; readonly matchPattern?: string }[]): void {
    this.#selectors = new Map(
      selectors.map(({ matchName, matchPattern = '' }) =>
        matchName === undefined ? [matchPattern, namePattern(matchPattern)] : [matchName, exactName(matchName)],
      ),
    );
  }

  learn(endpoint: number, name: string, addresses: readonly string[], until: number): void {
    const names = this.#endpoints.get(endpoint) ?? new Map<string, Map<string, number>>();
    this.#endpoints.set(endpoint, names);
    const known = names.get(name) ?? new Map<string, number>();
    names.set(name, known);
    for (const address of addresses) known.set(address, Math.max(until, known.get(address) ?? 0));
  }

  /** Takes away what `keep` does not hold for. */
  collect(keep: (endpoint: number, address: string, until: number) => boolean): void {
    for (const [endpoint, names] of this.#endpoints) {
      for (const [name, addresses] of names) {
        for (const [address, until] of addresses) if (!keep(endpoint, address, until)) addresses.delete(address);
        if (addresses.size === 0) names.delete(name);
      }
    }
  }

  remove(endpoint: number): void {
    this.#endpoints.delete(endpoint);
  }

  /** Selectors that match a name, sorted. */
  selectorsOf(name: string): string[] {
    return [...this.#selectors].filter(([, pattern]) => pattern.matches(name)).map(([text]) => text);
  }

  /** Every address that something selects, with what does. */
  state(): Map<string, Set<string>> {
    const state = new Map<string, Set<string>>();
    for (const names of this.#endpoints.values()) {
      for (const [name, addresses] of names) {
        const selectors = this.selectorsOf(name);
        if (selectors.length === 0) continue;
        for (const address of addresses.keys()) {
          const set = state.get(address) ?? new Set();
          for (const selector of selectors) set.add(selector);
          state.set(address, set);
        }
      }
    }
    return state;
  }
}
