/** What others say in the key-value store, for the rooms that want it; and which identities are in use here, for the store. */
import type { IdentityRegistry } from '../identity/registry.ts';
import type { Kvstore } from '../kvstore/kvstore.ts';
import type { Clock } from '../model/clock.ts';
import { IDENTITY_SCOPE, type Identity } from '../model/identity.ts';
import type { NodeTable } from '../nodes/node-table.ts';
import type { RemoteEndpoints } from '../nodes/remote-endpoints.ts';
import { BACKOFF } from '../kvstore/retry.ts';
import { backoffDelay } from '../reconcile/backoff.ts';
import type { IdentityKeeper } from './identity-keeper.ts';

export interface KvstoreLinkOptions {
  readonly kvstore: Pick<Kvstore, 'follow' | 'identities'>;
  readonly clock: Clock;
  readonly identities: Pick<IdentityRegistry, 'learn' | 'forget' | 'list' | 'references'>;
  readonly keeper: Pick<IdentityKeeper, 'check'>;
  readonly nodes: NodeTable;
  readonly endpoints: RemoteEndpoints;
  readonly onError: (message: string, error: unknown) => void;
}

/** How often the store is told which identities are in use, in milliseconds. */
const SYNC_MS = 30_000;

export class KvstoreLink {
  readonly #options: KvstoreLinkOptions;
  #begun = false;
  #pruned = false;
  #working = false;
  #again = false;
  #failures = 0;
  #cancel: (() => void) | undefined;

  constructor(options: KvstoreLinkOptions) {
    this.#options = options;
  }

  /** Resolves when everything that existed at the start has been taken in. */
  follow(): Promise<void> {
    const { kvstore, identities, keeper, nodes, endpoints } = this.#options;
    return kvstore.follow({
      onIdentity: (id, identity) => {
        if (identity !== undefined) identities.learn(identity);
        else {
          identities.forget(id);
          keeper.check();
        }
      },
      onIp: (name, record) => {
        endpoints.set(`ip ${name}`, record === undefined ? [] : [{ ...record, addresses: [record.address] }]);
      },
      onNode: (name, node) => nodes.set('kvstore', name, node),
      isUsed: (id) => endpoints.announces(id),
      onUncertain: () => this.#sync(),
    });
  }

  /** Endpoints are under their identities: from here on the store knows which are in use. */
  begin(): void {
    this.#begun = true;
    this.#sync();
  }

  stop(): void {
    this.#begun = false;
    this.#cancel?.();
  }

  #sync(): void {
    this.#again = true;
    if (!this.#begun || this.#working) return;
    this.#working = true;
    this.#cancel?.();
    void this.#work();
  }

  async #work(): Promise<void> {
    const { kvstore, clock, keeper, onError } = this.#options;
    let wait = SYNC_MS;
    try {
      while (this.#again && this.#begun) {
        this.#again = false;
        const lost = await kvstore.identities.sync(this.#inUse());
        // The keeper comes to an agreement about them; their endpoints stay what they are until then.
        if (lost.length > 0) keeper.check();
        if (!this.#pruned) await kvstore.identities.prune();
        this.#pruned = true;
      }
      this.#failures = 0;
    } catch (error) {
      this.#failures++;
      if (this.#failures === 1) onError('the store cannot be told which identities are in use, trying again', error);
      wait = backoffDelay(this.#failures, BACKOFF, Math.random());
    } finally {
      this.#working = false;
      if (this.#begun) this.#cancel = clock.after(wait, () => this.#sync());
    }
  }

  #inUse(): Identity[] {
    const { identities } = this.#options;
    const { first, last } = IDENTITY_SCOPE.cluster;
    return identities.list().filter(({ id }) => id >= first && id <= last && identities.references(id) > 0);
  }
}
