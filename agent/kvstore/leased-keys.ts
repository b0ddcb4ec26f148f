/** Keys that this node keeps in the store for as long as it lives. */
import type { Clock } from '../model/clock.ts';
import { WeirError } from '../model/errors.ts';
import { Reconciler } from '../reconcile/reconciler.ts';
import type { EtcdClient } from './etcd/client.ts';
import { isLeaseGone } from './etcd/faults.ts';
import { BACKOFF } from './retry.ts';
import type { Session } from './session.ts';

export interface LeasedKeysOptions {
  readonly client: Pick<EtcdClient, 'put' | 'delete' | 'leasedKeys'>;
  readonly session: Pick<Session, 'lost'>;
  readonly clock: Clock;
  /** What the keys of this node begin with: others under its lease are not its. */
  readonly prefixes: readonly string[];
  readonly onError: (message: string, error: unknown) => void;
}

/** A key as it is wanted, under which lease, and for the how manieth time because it was found missing. */
interface Wanted {
  readonly key: string;
  readonly value: string;
  readonly lease: string | undefined;
  readonly attempt: number;
}

/** How many requests are under way at once. */
const PARALLEL = 16;
/** Changes that follow one another within this time are one, in milliseconds. */
const COALESCE_MS = 5;

export class LeasedKeys {
  readonly #options: LeasedKeysOptions;
  readonly #reconciler: Reconciler<Wanted, string>;
  readonly #wanted = new Map<string, Wanted>();
  #lease: string | undefined;
  #begun = false;

  constructor(options: LeasedKeysOptions) {
    const { clock, onError } = options;
    this.#options = options;
    this.#reconciler = new Reconciler<Wanted, string>({
      target: {
        update: (objects) => inParallel(objects, (object) => this.#write(object)),
        delete: (keys) => inParallel(keys, (key) => options.client.delete(key)),
        prune: () => Promise.resolve(),
      },
      type: {
        keyOf: ({ key }) => key,
        keyText: (key) => key,
        equals: (a, b) => a.value === b.value && a.lease === b.lease && a.attempt === b.attempt,
      },
      ...{ clock, random: Math.random, backoff: BACKOFF, coalesceMs: COALESCE_MS },
      onFailure: (key, { attempts, error }) => {
        if (attempts === 1) onError(`${key} cannot be written, trying again`, error);
      },
    });
  }

  /** Wants the key to have the value. */
  set(key: string, value: string): void {
    this.#want({ key, value, lease: this.#lease, attempt: this.#wanted.get(key)?.attempt ?? 0 });
  }

  delete(key: string): void {
    this.#wanted.delete(key);
    this.#reconciler.delete(key);
  }

  has(key: string): boolean {
    return this.#wanted.has(key);
  }

  /** Somebody, or something, has taken the key away. */
  missing(key: string): void {
    const wanted = this.#wanted.get(key);
    if (wanted !== undefined) this.#want({ ...wanted, attempt: wanted.attempt + 1 });
  }

  /** All that this node wants is set: what an earlier run left under the lease goes, as soon as there is one. */
  begin(): void {
    this.#begun = true;
    if (this.#lease !== undefined) this.#compare(this.#lease);
  }

  /** Keys end with this lease from now on, or it is to be seen whether they still stand. */
  setLease(lease: string): void {
    const changed = this.#lease !== lease;
    this.#lease = lease;
    if (changed) for (const wanted of this.#wanted.values()) this.#want({ ...wanted, lease });
    this.#compare(lease);
  }

  /** How many keys stand, are to be written, and could not be. */
  counts(): { readonly done: number; readonly pending: number; readonly failed: number } {
    return this.#reconciler.counts();
  }

  close(): Promise<void> {
    return this.#reconciler.close();
  }

  #want(wanted: Wanted): void {
    this.#wanted.set(wanted.key, wanted);
    this.#reconciler.set(wanted);
  }

  /** Brings together what is wanted and what stands under the lease. */
  #compare(lease: string): void {
    const { client, prefixes, onError } = this.#options;
    const wanted = [...this.#wanted.keys()];
    client.leasedKeys(lease).then(
      (keys) => {
        const standing = new Set(keys);
        for (const key of wanted) if (!standing.has(key)) this.missing(key);
        if (!this.#begun) return;
        for (const key of keys) {
          if (this.#wanted.has(key) || !prefixes.some((prefix) => key.startsWith(prefix))) continue;
          client.delete(key).catch((error: unknown) => onError(`stale ${key} cannot be deleted`, error));
        }
      },
      // The session finds out, and calls again.
      (error: unknown) => onError('keys in the store cannot be compared', error),
    );
  }

  async #write({ key, value, lease }: Wanted): Promise<void> {
    const { client, session } = this.#options;
    if (lease === undefined) throw new WeirError('KVSTORE_UNREACHABLE', 'there is no lease yet', { object: key });
    try {
      await client.put(key, value, lease);
    } catch (error) {
      if (isLeaseGone(error)) session.lost(lease);
      throw error;
    }
  }
}

/** All are tried; the first fault is thrown when they have been. */
async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items];
  const faults: unknown[] = [];
  const worker = async (): Promise<void> => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) {
      try {
        await work(item);
      } catch (error) {
        faults.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, worker));
  if (faults.length > 0) throw faults[0];
}
