import { setImmediate as nextTurn } from 'node:timers/promises';
import { cidrLabels, type Families } from '../identity/cidr-labels.ts';
import type { IdentityRegistry } from '../identity/registry.ts';
import type { Ipcache } from '../ipcache/ipcache.ts';
import { formatCidr, type Cidr } from '../model/address.ts';
import type { IdentityId } from '../model/identity.ts';

/** Who speaks in the ipcache. */
const OWNER = 'policy';

export interface PrefixIdentitiesOptions {
  readonly identities: IdentityRegistry;
  readonly ipcache: Ipcache;
  readonly families: Families;
  /** Resolves when every endpoint's policy map knows the identities that exist now. */
  readonly settlePolicies: () => Promise<void>;
  readonly flushIpcache: (prefixes: readonly Cidr[]) => Promise<void>;
}

/** Identities of the prefixes that policies name (S21), and their places in the ipcache. */
export class PrefixIdentities {
  readonly #options: PrefixIdentitiesOptions;
  readonly #held = new Map<string, { readonly prefix: Cidr; readonly identity: IdentityId }>();

  constructor(options: PrefixIdentitiesOptions) {
    this.#options = options;
  }

  /**
   * Gives every prefix of `wanted` an identity. A packet must not carry an identity that a policy map does not know
   * yet, so the maps follow before the ipcache does.
   *
   * @throws WeirError of the first prefix that cannot have one, after the others got theirs.
   */
  async add(wanted: readonly Cidr[]): Promise<void> {
    const { identities, ipcache, families } = this.#options;
    const missing = wanted.filter((prefix) => prefix.length > 0 && !this.#held.has(formatCidr(prefix)));
    if (missing.length === 0) return;
    const outcomes = await Promise.allSettled(
      missing.map(async (prefix) => {
        const { id } = await identities.acquire(cidrLabels(prefix, families));
        this.#held.set(formatCidr(prefix), { prefix, identity: id });
        return { prefix, identity: id, source: 'generated' as const, owner: OWNER };
      }),
    );
    const records = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
    await this.#options.settlePolicies();
    ipcache.upsert(...records);
    await this.#options.flushIpcache(records.map(({ prefix }) => prefix));
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  }

  /** Gives back the identities of prefixes that are not in `wanted`: first out of the ipcache, then the identity. */
  async prune(wanted: readonly Cidr[]): Promise<void> {
    const { identities, ipcache } = this.#options;
    const kept = new Set(wanted.map(formatCidr));
    const gone = [...this.#held].filter(([text]) => !kept.has(text));
    if (gone.length === 0) return;
    ipcache.remove(...gone.map(([, { prefix }]) => ({ prefix, source: 'generated' as const, owner: OWNER })));
    await this.#options.flushIpcache([]);
    await nextTurn();
    for (const [text, { identity }] of gone) {
      this.#held.delete(text);
      identities.release(identity);
    }
  }
}
