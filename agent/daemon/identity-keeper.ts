import type { IdentityRegistry } from '../identity/registry.ts';
import type { Clock } from '../model/clock.ts';
import type { Identity, IdentityId } from '../model/identity.ts';
import { backoffDelay, DEFAULT_BACKOFF } from '../reconcile/backoff.ts';

/** Where the cluster's identities are kept. */
export interface KeptIdentities {
  /** Takes in that an identity is marked as unused; absent where nothing is ever marked. */
  observe?(id: IdentityId, unused: boolean): void;
  /** Whether the identity is there still, and stays when this resolves. */
  reuse(identity: Identity): Promise<boolean>;
}

export interface IdentityKeeperOptions {
  readonly identities: Pick<IdentityRegistry, 'unagreed' | 'settle' | 'references' | 'find'>;
  readonly objects: KeptIdentities;
  readonly clock: Clock;
  readonly onError: (message: string, error: unknown) => void;
}

/**
 * Keeps alive in the cluster what endpoints of this node use: what was collected while nobody could say so is made again,
 * what is marked as unused is unmarked. Until that is done, endpoints stay what they were.
 */
export class IdentityKeeper {
  readonly #options: IdentityKeeperOptions;
  /** All that the cluster knew at the start is known. */
  #begun = false;
  #working = false;
  #again = false;
  #failures = 0;
  readonly #marked = new Set<IdentityId>();
  #cancel: (() => void) | undefined;

  constructor(options: IdentityKeeperOptions) {
    this.#options = options;
  }

  /** All that the cluster knew at the start is known: what it does not know by now, it has to be told. */
  begin(): void {
    this.#begun = true;
    this.check();
  }

  stop(): void {
    this.#begun = false;
    this.#cancel?.();
  }

  /** An identity is marked as unused, or no longer. */
  observe(id: IdentityId, unused: boolean): void {
    this.#options.objects.observe?.(id, unused);
    if (!unused) this.#marked.delete(id);
    else if (this.#options.identities.references(id) > 0) {
      this.#marked.add(id);
      this.check();
    }
  }

  /** The cluster may have lost something. */
  check(): void {
    this.#again = true;
    if (!this.#begun || this.#working) return;
    this.#working = true;
    void this.#work();
  }

  async #work(): Promise<void> {
    const { identities, clock, onError } = this.#options;
    try {
      while (this.#again && this.#begun) {
        this.#again = false;
        for (const id of [...this.#marked]) await this.#unmark(id);
        for (const identity of identities.unagreed()) await identities.settle(identity);
      }
      this.#failures = 0;
    } catch (error) {
      this.#failures++;
      onError('identities in use cannot be agreed on with the cluster, they stay as they are here', error);
      const delay = backoffDelay(this.#failures, DEFAULT_BACKOFF, Math.random());
      this.#cancel = clock.after(delay, () => this.check());
    } finally {
      this.#working = false;
    }
  }

  async #unmark(id: IdentityId): Promise<void> {
    const { identities, objects } = this.#options;
    const identity = identities.find(id);
    if (identity !== undefined && identities.references(id) > 0) await objects.reuse(identity);
    this.#marked.delete(id);
  }
}
