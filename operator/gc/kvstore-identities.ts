/**
 * Collects identities in etcd that no node uses. A node that uses one has a key of its own under a lease; one of which no
 * node has been seen to have a key for long is deleted in a transaction that wants it to be as it was then, and still
 * without any such key. So an identity in use is never deleted, however the two happen to meet.
 */
import type { EtcdClient } from '../../agent/kvstore/etcd/client.ts';
import type { KeyValue } from '../../agent/kvstore/etcd/txn.ts';
import { IDENTITIES, labelsKey, labelsOfUser, usersPrefix } from '../../agent/kvstore/layout.ts';
import { periodically, type Duty, type DutyContext } from '../duty.ts';
import type { IdentityGcOptions } from './identities.ts';

type Store = Pick<EtcdClient, 'list' | 'txn' | 'get'>;

export class KvstoreIdentityGc implements Duty {
  readonly name = 'kvstore-identity-gc';
  readonly #context: DutyContext;
  readonly #store: Store;
  readonly #options: IdentityGcOptions;
  /** Since when each identity has been without users, as it was then, as far as this operator has seen. */
  readonly #unused = new Map<string, { readonly since: number; readonly revision: number }>();

  constructor(context: DutyContext, store: Store, options: IdentityGcOptions) {
    this.#context = context;
    this.#store = store;
    this.#options = options;
  }

  run(signal: AbortSignal): Promise<void> {
    // What was seen while another led may have changed twice.
    this.#unused.clear();
    return periodically(this.#context, this.name, this.#options.intervalMs, signal, () => this.round(signal));
  }

  /** One look at everything. @throws WeirError when the store does not answer, or refuses */
  async round(signal: AbortSignal): Promise<void> {
    // The identities first: who uses one of them by then has a key that is listed after.
    const { entries } = await this.#store.list(IDENTITIES.byId);
    const users = await this.#store.list(IDENTITIES.byUser);
    const used = new Set(users.entries.map(({ key }) => labelsOfUser(key.slice(IDENTITIES.byUser.length))));
    let left = this.#options.mostPerRound;
    for (const entry of entries) {
      if (signal.aborted) return;
      if (await this.#judge(entry, used.has(entry.value), left > 0)) left--;
    }
    const known = new Set(entries.map(({ key }) => key));
    for (const key of this.#unused.keys()) if (!known.has(key)) this.#unused.delete(key);
  }

  /** @returns whether it was deleted */
  async #judge(entry: KeyValue, used: boolean, mayDelete: boolean): Promise<boolean> {
    const { clock, logger, metrics } = this.#context;
    const seen = this.#unused.get(entry.key);
    if (used) {
      this.#unused.delete(entry.key);
      metrics.identities.inc({ outcome: 'alive' });
      return false;
    }
    if (seen?.revision !== entry.modRevision) {
      this.#unused.set(entry.key, { since: clock.now(), revision: entry.modRevision });
      metrics.identities.inc({ outcome: 'marked' });
      return false;
    }
    if (!mayDelete || clock.now() - seen.since < this.#options.heartbeatTimeoutMs) return false;
    const deleted = await this.#delete(entry);
    metrics.identities.inc({ outcome: deleted ? 'deleted' : 'kept' });
    const identity = entry.key.slice(IDENTITIES.byId.length);
    if (deleted) logger.info({ identity, labels: entry.value }, 'deleted, because no node has used it for long');
    return deleted;
  }

  async #delete({ key, value, modRevision }: KeyValue): Promise<boolean> {
    const number = key.slice(IDENTITIES.byId.length);
    const labels = await this.#store.get(labelsKey(value));
    // Made by somebody else's tool, it may have no such key, or be a second number of labels that have one.
    const own = labels?.value === number;
    const { succeeded } = await this.#store.txn(
      [
        { is: 'unchanged', key, revision: modRevision },
        { is: 'absent', key: usersPrefix(value), prefix: true },
        labels === undefined
          ? { is: 'absent', key: labelsKey(value) }
          : { is: 'unchanged', key: labels.key, revision: labels.modRevision },
      ],
      [{ do: 'delete', key }, ...(own ? [{ do: 'delete', key: labelsKey(value) } as const] : [])],
    );
    return succeeded;
  }
}
