/** The name selectors that policies use at this moment, and the names that each selects (S29). */
import { canonicalName, namePattern, type NamePattern } from '../../dns-proxy/rules/name-pattern.ts';
import type { PolicyDemand } from '../policy/contract.ts';

/** A selector of `toFQDNs` as `PolicyEngine.demand` lists it. */
export type NameSelector = PolicyDemand['fqdns'][number];

export class NameSelectors {
  /** Selectors of one name each, by that name. */
  readonly #exact = new Map<string, Set<string>>();
  /** Patterns by what follows their last star from the next label on: a name need only be held against its own endings. */
  readonly #patterns = new Map<string, Map<string, NamePattern>>();
  readonly #all = new Set<string>();

  /** Selectors of the canonical name. */
  *of(name: string): Generator<string> {
    const exact = this.#exact.get(name);
    if (exact !== undefined) yield* exact;
    for (let dot = -1; ; dot = name.indexOf('.', dot + 1)) {
      const patterns = this.#patterns.get(dot < 0 ? name : name.slice(dot + 1));
      if (patterns !== undefined) for (const [text, pattern] of patterns) if (pattern.matches(name)) yield text;
      if (dot === name.length - 1) return;
    }
  }

  /** Makes `wanted` all there is; tells what is new, and what is gone. */
  replace(wanted: readonly NameSelector[]): { readonly added: NameSelectors; readonly gone: ReadonlySet<string> } {
    const added = new NameSelectors();
    const kept = new Set<string>();
    for (const { matchName, matchPattern } of wanted) {
      const text = matchName ?? matchPattern ?? '';
      kept.add(text);
      // A pattern without a star and the same text as a name select the same: they have one label and are one selector.
      if (text === '' || this.#all.has(text)) continue;
      this.#add(text);
      added.#add(text);
    }
    const gone = this.#all.difference(kept);
    for (const text of gone) this.#remove(text);
    return { added, gone };
  }

  get size(): number {
    return this.#all.size;
  }

  #add(text: string): void {
    this.#all.add(text);
    if (text.includes('*')) {
      const ending = endingOf(text);
      this.#patterns.set(
        ending,
        (this.#patterns.get(ending) ?? new Map<string, NamePattern>()).set(text, namePattern(text)),
      );
    } else {
      const name = canonicalName(text);
      this.#exact.set(name, (this.#exact.get(name) ?? new Set()).add(text));
    }
  }

  #remove(text: string): void {
    this.#all.delete(text);
    const ending = endingOf(text);
    const patterns = this.#patterns.get(ending);
    patterns?.delete(text);
    if (patterns?.size === 0) this.#patterns.delete(ending);
    const name = canonicalName(text);
    const exact = this.#exact.get(name);
    exact?.delete(text);
    if (exact?.size === 0) this.#exact.delete(name);
  }
}

/** The whole labels after a pattern's last star: `cilium.io.` of `*.api*.cilium.io`; empty when there is none. */
function endingOf(pattern: string): string {
  const tail = canonicalName(pattern).slice(pattern.lastIndexOf('*') + 1);
  return tail.slice(tail.indexOf('.') + 1);
}
