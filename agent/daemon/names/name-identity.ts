/** The identities of addresses that names have given: one for each set of selectors, family and covering prefix (S22). */
import type { SelectorSet } from '../../fqdn/selectorset.ts';
import { worldLabel, type Families } from '../../identity/cidr-labels.ts';
import type { IdentityRegistry } from '../../identity/registry.ts';
import type { Identity } from '../../model/identity.ts';
import { canonicalLabels, labelSetKey, type Label } from '../../model/labels.ts';

/** An identity that addresses share, for as long as one of them wants it. */
export class NameIdentity {
  readonly selectors: readonly string[];
  readonly family: 4 | 6;
  /** It is that of addresses around which policies name no prefix. */
  readonly ofNamesAlone: boolean;
  readonly labels: readonly Label[];
  /** How many addresses want it or have it, and who else holds it. */
  users = 0;
  /** Set once every endpoint's policy map knows it. */
  known: Identity | undefined;

  constructor({ selectors }: SelectorSet, family: 4 | 6, prefix: readonly Label[], labels: readonly Label[]) {
    this.selectors = selectors;
    this.family = family;
    this.ofNamesAlone = prefix.length === 0;
    this.labels = labels;
  }
}

/** Gives equal label sets the same {@link NameIdentity}, and takes numbers for them. */
export class NameIdentityTable {
  readonly #identities: IdentityRegistry;
  readonly #families: Families;
  /** Resolves when every endpoint's policy map knows the identities that exist now. */
  readonly #settlePolicies: () => Promise<void>;
  readonly #onChange: () => void;
  readonly #byKey = new Map<string, NameIdentity>();

  constructor(options: {
    readonly identities: IdentityRegistry;
    readonly families: Families;
    readonly settlePolicies: () => Promise<void>;
    /** {@link known} is another list than before. */
    readonly onChange: () => void;
  }) {
    this.#onChange = options.onChange;
    this.#identities = options.identities;
    this.#families = options.families;
    this.#settlePolicies = options.settlePolicies;
  }

  /** How many there are. */
  get size(): number {
    return this.#byKey.size;
  }

  /**
   * One more user of the identity of these selectors.
   *
   * @param prefix labels of the prefix that policies name around the address, whose rules it must go on matching (S21)
   */
  hold(set: SelectorSet, family: 4 | 6, prefix: readonly Label[]): NameIdentity {
    const names = set.selectors.map((key): Label => ({ source: 'fqdn', key, value: '' }));
    const labels = canonicalLabels([...names, worldLabel(family, this.#families), ...prefix]);
    const key = labelSetKey(labels);
    const held = this.#byKey.get(key) ?? new NameIdentity(set, family, prefix, labels);
    this.#byKey.set(key, held);
    held.users++;
    return held;
  }

  /** One user less; the number is given back after the last. */
  release(held: NameIdentity): void {
    held.users--;
    if (held.users > 0) return;
    const key = labelSetKey(held.labels);
    if (this.#byKey.get(key) === held) this.#byKey.delete(key);
    if (held.known === undefined) return;
    this.#identities.release(held.known.id);
    held.known = undefined;
    this.#onChange();
  }

  /** Those that every policy map knows. */
  *known(): Generator<NameIdentity & { readonly known: Identity }> {
    for (const held of this.#byKey.values()) {
      if (held.known !== undefined) yield held as NameIdentity & { readonly known: Identity };
    }
  }

  /**
   * Makes these known: numbers first, then the policy maps of all endpoints, together.
   *
   * @throws WeirError IDENTITY_EXHAUSTED, STATE_WRITE_FAILED of the first that cannot be, after the others are.
   */
  async makeKnown(wanted: Iterable<NameIdentity>): Promise<void> {
    const missing = [...new Set(wanted)].filter(({ known }) => known === undefined);
    if (missing.length === 0) return;
    const outcomes = await Promise.allSettled(missing.map(({ labels }) => this.#identities.acquire(labels)));
    await this.#settlePolicies();
    for (const [i, outcome] of outcomes.entries()) {
      if (outcome.status === 'rejected') continue;
      const held = missing[i]!;
      // Somebody else was faster, or nobody wants it any more: the reference is one too many.
      if (held.known !== undefined || held.users === 0) this.#identities.release(outcome.value.id);
      else held.known = outcome.value;
    }
    this.#onChange();
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  }
}
