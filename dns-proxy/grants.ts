/** Identities for the addresses of names while the agent is away: only such as it had already given out. */
import type { NameGrants } from './contract.ts';
import { exactName, namePattern, type NamePattern } from './rules/name-pattern.ts';

export class Grants {
  #patterns: readonly { readonly selector: string; readonly pattern: NamePattern }[] = [];
  #identities = new Map<string, number>();

  replace({ selectors, identities }: NameGrants): void {
    this.#patterns = selectors.map((selector) => ({
      selector,
      pattern: selector.includes('*') ? namePattern(selector) : exactName(selector),
    }));
    this.#identities = new Map(
      identities.map(({ selectors: set, family, identity }) => [keyOf(family, set), identity]),
    );
  }

  /**
   * The identity, for addresses of a family, of exactly the selectors that select the canonical name; undefined when none
   * do, or nobody has it.
   */
  identityOf(name: string, family: 4 | 6): number | undefined {
    const selecting = this.#patterns.filter(({ pattern }) => pattern.matches(name)).map(({ selector }) => selector);
    return selecting.length === 0 ? undefined : this.#identities.get(keyOf(family, selecting));
  }
}

/** No selector holds a space. */
function keyOf(family: 4 | 6, selectors: readonly string[]): string {
  return `${family} ${[...new Set(selectors)].sort().join(' ')}`;
}
