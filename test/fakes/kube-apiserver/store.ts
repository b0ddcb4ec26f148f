/**
 * What etcd is to a real API server: every version of every object under one revision that only grows, kept until it is
 * compacted. Objects are immutable; whoever holds one may keep it.
 */
import { deepEqual, keyOf, type KubeObject } from './object.ts';

export type ChangeType = 'ADDED' | 'MODIFIED' | 'DELETED';

export interface Change {
  readonly type: ChangeType;
  readonly revision: number;
  readonly object: KubeObject;
  /** What the object was before, unless it is new. */
  readonly previous: KubeObject | undefined;
}

interface Version {
  readonly revision: number;
  /** Undefined: deleted at this revision. */
  readonly object: KubeObject | undefined;
}

type Listener = (change: Change) => void;

/** Revisions kept at least: about what a watch cache of a real server remembers. */
const DEFAULT_HISTORY = 100_000;

export class Collection {
  readonly #versions = new Map<string, Version[]>();
  /** All keys in the order of etcd, which is that of bytes. */
  #keys: string[] | undefined = [];
  readonly changes: Change[] = [];
  readonly listeners = new Set<Listener>();

  get(key: string, revision = Infinity): KubeObject | undefined {
    const versions = this.#versions.get(key);
    if (versions === undefined) return undefined;
    for (let i = versions.length - 1; i >= 0; i--) {
      if (versions[i]!.revision <= revision) return versions[i]!.object;
    }
    return undefined;
  }

  /** Keys from `start` on, in order; some may hold no object at a given revision. */
  keysFrom(start: string): readonly string[] {
    this.#keys ??= [...this.#versions.keys()].sort();
    if (start === '') return this.#keys;
    let [low, high] = [0, this.#keys.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#keys[middle]! < start) low = middle + 1;
      else high = middle;
    }
    return this.#keys.slice(low);
  }

  /** Present objects, in no order. */
  *values(): IterableIterator<KubeObject> {
    for (const versions of this.#versions.values()) {
      const { object } = versions.at(-1)!;
      if (object !== undefined) yield object;
    }
  }

  record(key: string, change: Change): void {
    const version = { revision: change.revision, object: change.type === 'DELETED' ? undefined : change.object };
    const versions = this.#versions.get(key);
    if (versions === undefined) {
      this.#versions.set(key, [version]);
      this.#keys = undefined;
    } else versions.push(version);
    this.changes.push(change);
    for (const listener of this.listeners) listener(change);
  }

  /** Changes after `revision`, oldest first. */
  changesAfter(revision: number): readonly Change[] {
    let [low, high] = [0, this.changes.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.changes[middle]!.revision <= revision) low = middle + 1;
      else high = middle;
    }
    return this.changes.slice(low);
  }

  compact(revision: number): void {
    const keep = this.changesAfter(revision);
    this.changes.splice(0, this.changes.length - keep.length);
    for (const [key, versions] of this.#versions) {
      const latest = versions.findLastIndex((version) => version.revision <= revision);
      if (latest > 0) versions.splice(0, latest);
      if (versions.length === 1 && versions[0]!.object === undefined) {
        this.#versions.delete(key);
        this.#keys = undefined;
      }
    }
  }
}

export class Store {
  readonly #collections = new Map<string, Collection>();
  readonly #history: number;
  readonly #keep: ((collection: string, change: Change) => void) | undefined;
  #revision = 1;
  #compacted = 0;
  #sinceCompaction = 0;

  /** @param keep makes a change last, before anyone hears of it */
  constructor(history = DEFAULT_HISTORY, keep?: (collection: string, change: Change) => void) {
    this.#history = history;
    this.#keep = keep;
  }

  get revision(): number {
    return this.#revision;
  }

  /** Revisions up to this one can no longer be listed or watched from. */
  get compacted(): number {
    return this.#compacted;
  }

  collection(name: string): Collection {
    let collection = this.#collections.get(name);
    if (collection === undefined) this.#collections.set(name, (collection = new Collection()));
    return collection;
  }

  collections(): IterableIterator<[string, Collection]> {
    return this.#collections.entries();
  }

  /** Writes a version; returns it with its new resourceVersion. An unchanged object is not written again. */
  put(collection: string, object: KubeObject): KubeObject {
    const target = this.collection(collection);
    const key = keyOf(object.metadata.namespace, object.metadata.name);
    const previous = target.get(key);
    if (previous !== undefined && sameButForVersion(previous, object)) return previous;
    const revision = ++this.#revision;
    const stored = { ...object, metadata: { ...object.metadata, resourceVersion: String(revision) } };
    const type = previous === undefined ? 'ADDED' : 'MODIFIED';
    this.#record(collection, { type, revision, object: stored, previous });
    return stored;
  }

  /** Removes an object; returns it as it was, with the revision of its removal. */
  delete(collection: string, namespace: string | undefined, name: string): KubeObject | undefined {
    const target = this.collection(collection);
    const key = keyOf(namespace, name);
    const previous = target.get(key);
    if (previous === undefined) return undefined;
    const revision = ++this.#revision;
    const object = { ...previous, metadata: { ...previous.metadata, resourceVersion: String(revision) } };
    this.#record(collection, { type: 'DELETED', revision, object, previous });
    return object;
  }

  /** Takes in a change that was kept; those of a store come in order. */
  replay(collection: string, { type, revision, object }: Omit<Change, 'previous'>): void {
    const target = this.collection(collection);
    const key = keyOf(object.metadata.namespace, object.metadata.name);
    this.#revision = revision;
    target.record(key, { type, revision, object, previous: target.get(key) });
    this.#age();
  }

  /**
   * What a restore from a backup does, so that no revision means two things: the next ones are far above all that were ever
   * given, and none of those before can be watched from (etcd's `--bump-revision --mark-compacted`).
   */
  beginEpoch(by: number): void {
    this.#revision += by;
    this.compact();
  }

  /** Forgets all versions that were superseded at `revision` or before. */
  compact(revision = this.#revision): void {
    this.#compacted = Math.max(this.#compacted, Math.min(revision, this.#revision));
    for (const collection of this.#collections.values()) collection.compact(this.#compacted);
    this.#sinceCompaction = this.#revision - this.#compacted;
  }

  #record(collection: string, change: Change): void {
    this.#keep?.(collection, change);
    const { namespace, name } = change.object.metadata;
    this.collection(collection).record(keyOf(namespace, name), change);
    this.#age();
  }

  #age(): void {
    if (++this.#sinceCompaction > 2 * this.#history) this.compact(this.#revision - this.#history);
  }
}

function sameButForVersion(a: KubeObject, b: KubeObject): boolean {
  const plain = (object: KubeObject): unknown => ({
    ...object,
    metadata: { ...object.metadata, resourceVersion: '', managedFields: untimed(object) },
  });
  return deepEqual(plain(a), plain(b));
}

/** Managed fields are the same when only their times differ: a repeated apply changes nothing. */
function untimed(object: KubeObject): unknown {
  return object.metadata.managedFields?.map((entry) => ({ ...entry, time: '' }));
}
