/**
 * The keys that begin with a prefix, followed: list, watch, and on from where it was. When history is compacted, or the
 * store is another one, they are listed again, and only what differs is told.
 *
 * Nothing is deleted for want of a store. While it is away, keys may end that others write again as soon as they can reach
 * it, because their leases ran out or because it has lost what it held; whoever believed at once that they are gone would
 * drop the traffic of pods that are well. So what is found missing after a time without the store is held for a grace, and
 * told as deleted only when nobody has written it by then. What is deleted while the store answers is gone at once.
 */
import type { Clock } from '../model/clock.ts';
import type { EtcdClient, Listing, Position, WatchEvent } from './etcd/client.ts';
import type { KeyValue } from './etcd/txn.ts';
import { backOff } from './retry.ts';

export interface PrefixWatchOptions {
  readonly client: Pick<EtcdClient, 'list' | 'watch'>;
  readonly clock: Clock;
  readonly prefix: string;
  /** How long keys that went missing while the store was away count as there, in milliseconds. */
  readonly graceMs: number;
  /** @param name of the key, behind the prefix */
  readonly onPut: (name: string, value: string) => void;
  readonly onDelete: (name: string) => void;
  /** The store is followed again after it was away; keys may be missing that should be there. */
  readonly onReturn?: () => void;
  /** A key of ours was found missing: at once, whether its deletion is held or not. */
  readonly onMissing?: (name: string) => void;
  /** Undefined: it is followed. */
  readonly onState?: (error: unknown) => void;
}

export class PrefixWatch {
  readonly #options: PrefixWatchOptions;
  /** Revision of each key that has been told, by name. */
  readonly #known = new Map<string, number>();
  /** Keys that are missing and not yet told as deleted: what cancels their time; undefined while the store is away. */
  readonly #held = new Map<string, (() => void) | undefined>();
  /** Resolves when all keys have been told that there were at the start. */
  readonly synced: Promise<void>;
  readonly #resolveSynced: () => void;
  #position: Position | undefined;
  /** Up to then, what is deleted is held. */
  #holdUntil = 0;
  #followed = false;

  constructor(options: PrefixWatchOptions) {
    this.#options = options;
    const synced = Promise.withResolvers<undefined>();
    this.synced = synced.promise;
    this.#resolveSynced = () => synced.resolve(undefined);
  }

  get size(): number {
    return this.#known.size;
  }

  /** Names of the keys that are missing, and count as there for a while. */
  held(): string[] {
    return [...this.#held.keys()];
  }

  /** Follows until the signal. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    let failures = 0;
    const stopped = (): boolean => signal.aborted;
    while (!stopped()) {
      try {
        if (this.#position === undefined) this.#relist(await this.#options.client.list(this.#options.prefix));
        await this.#follow(this.#position!, signal, () => (failures = 0));
      } catch (error) {
        if (stopped()) break;
        failures++;
        this.#lose(error);
        await backOff(this.#options.clock, failures, signal);
      }
    }
    for (const cancel of this.#held.values()) cancel?.();
  }

  /** Rejects when the watch ends; resolves at the signal. */
  #follow(from: Position, signal: AbortSignal, onCreated: () => void): Promise<void> {
    const { client, prefix } = this.#options;
    return new Promise((resolve, reject) => {
      const cancel = client.watch(prefix, from.revision + 1, {
        onCreated: (now) => {
          // Another store, or this one as it was before: what it will tell is another history.
          if (now.clusterId !== from.clusterId || now.revision < from.revision) {
            this.#position = undefined;
            for (const name of this.#known.keys()) this.#known.set(name, -1);
            cancel();
            reject(new Error('the store is not the one that it was'));
            return;
          }
          onCreated();
          this.#found();
        },
        onEvents: (events) => {
          for (const event of events) this.#take(event);
        },
        // Far ahead of a compaction: less to list again.
        onProgress: (revision) => this.#advance(revision),
        onEnd: (error, compacted) => {
          if (compacted) this.#position = undefined;
          reject(error instanceof Error ? error : new Error(String(error)));
        },
      });
      signal.addEventListener('abort', () => {
        cancel();
        resolve();
      });
    });
  }

  /** The store is followed from here on. */
  #found(): void {
    const { clock, graceMs, onReturn, onState } = this.#options;
    if (this.#followed) return;
    this.#followed = true;
    onState?.(undefined);
    if (this.#holdUntil !== 0) {
      this.#holdUntil = clock.now() + graceMs;
      for (const name of this.#held.keys()) this.#hold(name);
      onReturn?.();
    }
    this.#resolveSynced();
  }

  #lose(error: unknown): void {
    this.#options.onState?.(error);
    this.#followed = false;
    if (this.#known.size === 0) return;
    // While it is away nothing runs out; the time is set when it is back.
    this.#holdUntil = Infinity;
    for (const [name, cancel] of this.#held) {
      cancel?.();
      this.#held.set(name, undefined);
    }
  }

  #relist({ position, entries }: Listing): void {
    const names = new Set<string>();
    for (const entry of entries) {
      names.add(this.#nameOf(entry.key));
      this.#put(entry);
    }
    for (const name of this.#known.keys()) if (!names.has(name)) this.#gone(name);
    this.#position = position;
  }

  #take(event: WatchEvent): void {
    if (event.type === 'put') this.#put(event.entry);
    else if (this.#known.has(this.#nameOf(event.key))) this.#gone(this.#nameOf(event.key));
    this.#advance(event.type === 'put' ? event.entry.modRevision : event.revision);
  }

  #put({ key, value, modRevision }: KeyValue): void {
    const name = this.#nameOf(key);
    this.#held.get(name)?.();
    this.#held.delete(name);
    if (this.#known.get(name) === modRevision) return;
    this.#known.set(name, modRevision);
    this.#options.onPut(name, value);
  }

  #gone(name: string): void {
    if (this.#holdUntil > this.#options.clock.now()) this.#hold(name);
    else this.#delete(name);
    this.#options.onMissing?.(name);
  }

  #hold(name: string): void {
    const { clock } = this.#options;
    this.#held.get(name)?.();
    const wait = this.#holdUntil - clock.now();
    this.#held.set(name, wait === Infinity ? undefined : clock.after(wait, () => this.#delete(name)));
  }

  #delete(name: string): void {
    this.#held.delete(name);
    if (this.#known.delete(name)) this.#options.onDelete(name);
  }

  #advance(revision: number): void {
    const position = this.#position;
    if (position !== undefined && revision > position.revision) this.#position = { ...position, revision };
  }

  #nameOf(key: string): string {
    return key.slice(this.#options.prefix.length);
  }
}
