/** What the controllers of a cluster do that clients count on: definitions are served, namespaces emptied, orphans removed. */
import { CRD_GROUP, CRDS, customTypes, isEstablished } from './custom-types.ts';
import { deleteObject } from './deletion.ts';
import type { KubeObject } from './object.ts';
import { textAt } from './object.ts';
import { collectionOf, type Registry, type ResourceType } from './resource-type.ts';
import type { Rest } from './rest.ts';
import type { Change, Store } from './store.ts';

/** An object as others find it. */
interface Place {
  readonly type: ResourceType;
  readonly namespace: string;
  readonly name: string;
}

export class Controllers {
  readonly #store: Store;
  readonly #registry: Registry;
  readonly #rest: Rest;
  /** Objects by the uid of each owner, and by where they are: clusters are large, and each deletion asks. */
  readonly #owned = new Map<string, Map<string, Place>>();
  #scheduled = false;
  readonly #queue: (() => void)[] = [];
  readonly #onFault: (error: unknown) => void;

  constructor(store: Store, registry: Registry, rest: Rest, onFault: (error: unknown) => void) {
    this.#store = store;
    this.#registry = registry;
    this.#rest = rest;
    this.#onFault = onFault;
    for (const type of registry.all()) this.#observe(type);
  }

  /** Serves the definitions that a store brings along, after a restart. */
  resume(): void {
    for (const crd of this.#store.collection(`${CRD_GROUP}/${CRDS}`).values())
      this.#onDefinition({ type: 'ADDED', object: crd, previous: undefined, revision: 0 });
  }

  #observe(type: ResourceType): void {
    const { listeners } = this.#store.collection(collectionOf(type));
    if (type.group === CRD_GROUP) listeners.add((change) => this.#onDefinition(change));
    else if (type.plural === 'namespaces' && type.group === '') listeners.add((change) => this.#onNamespace(change));
    listeners.add((change) => this.#onAny(type, change));
    for (const object of this.#store.collection(collectionOf(type)).values()) this.#index(type, object, undefined);
  }

  #index(type: ResourceType, object: KubeObject | undefined, previous: KubeObject | undefined): void {
    const { namespace = '', name } = (object ?? previous)!.metadata;
    const place = `${collectionOf(type)}/${namespace}/${name}`;
    const now = new Set(object?.metadata.ownerReferences?.map(({ uid }) => uid));
    for (const { uid } of previous?.metadata.ownerReferences ?? []) {
      const owned = this.#owned.get(uid);
      if (now.has(uid) || owned === undefined) continue;
      owned.delete(place);
      if (owned.size === 0) this.#owned.delete(uid);
    }
    for (const uid of now) {
      const owned = this.#owned.get(uid) ?? new Map<string, Place>();
      this.#owned.set(uid, owned.set(place, { type, namespace, name }));
    }
  }

  #onDefinition(change: Change): void {
    const group = textAt(change.object, 'spec', 'group');
    const plural = textAt(change.object, 'spec', 'names', 'plural');
    const known = this.#registry.byResource(group, plural);
    if (change.type === 'DELETED') {
      if (known !== undefined)
        for (const object of [...this.#store.collection(collectionOf(known)).values()])
          this.#rest.remove(known, object);
      this.#registry.remove(group, plural);
      return;
    }
    if (!isEstablished(change.object)) return;
    this.#registry.remove(group, plural);
    const types = customTypes(change.object);
    for (const type of types) this.#registry.add(type);
    if (known === undefined && types[0] !== undefined) this.#observe(types[0]);
  }

  #onNamespace({ type, object }: Change): void {
    if (type !== 'DELETED' && object.metadata.deletionTimestamp !== undefined)
      this.#later(() => this.#empty(object.metadata.name));
  }

  /** Deletes what a namespace holds, and at last the namespace. */
  #empty(name: string): void {
    const namespaces = this.#registry.find('', 'v1', 'namespaces')!;
    let left = 0;
    for (const type of this.#registry.all()) {
      if (!type.namespaced || type.stored !== undefined || !type.verbs.includes('list')) continue;
      for (const object of [...this.#store.collection(collectionOf(type)).values()]) {
        if (object.metadata.namespace !== name) continue;
        if (object.metadata.deletionTimestamp === undefined) deleteObject(this.#rest, type, object, { dryRun: false });
        if (this.#rest.find(type, name, object.metadata.name) !== undefined) left++;
      }
    }
    const namespace = this.#rest.find(namespaces, '', name);
    if (left > 0 || namespace === undefined || (namespace.metadata.finalizers ?? []).length > 0) return;
    this.#rest.remove(namespaces, namespace);
  }

  #onAny(type: ResourceType, change: Change): void {
    const { metadata } = change.object;
    this.#index(type, change.type === 'DELETED' ? undefined : change.object, change.previous);
    if (change.type === 'DELETED') {
      if (metadata.namespace !== undefined) this.#emptyIfTerminating(metadata.namespace);
      this.#later(() => this.#removeDependents(metadata.uid));
      return;
    }
    const finalizers = metadata.finalizers ?? [];
    if (
      metadata.deletionTimestamp !== undefined &&
      (finalizers.includes('foregroundDeletion') || finalizers.includes('orphan'))
    )
      this.#later(() => this.#finalize(type, metadata.namespace ?? '', metadata.name));
    if (change.type === 'ADDED' && (metadata.ownerReferences ?? []).length > 0)
      this.#later(() => this.#removeIfOrphan(type, change.object));
  }

  #emptyIfTerminating(name: string): void {
    const namespace = this.#store.collection('/namespaces').get(name);
    if (namespace?.metadata.deletionTimestamp !== undefined) this.#later(() => this.#empty(name));
  }

  *#dependents(uid: string): Generator<[ResourceType, KubeObject]> {
    for (const { type, namespace, name } of [...(this.#owned.get(uid)?.values() ?? [])]) {
      const object = this.#rest.find(type, namespace, name);
      if (object !== undefined) yield [type, object];
    }
  }

  #removeDependents(uid: string): void {
    for (const [type, object] of [...this.#dependents(uid)]) this.#removeIfOrphan(type, object);
  }

  /** Removes an object all of whose owners are gone. */
  #removeIfOrphan(type: ResourceType, { metadata }: KubeObject): void {
    const object = this.#rest.find(type, metadata.namespace ?? '', metadata.name);
    if (object === undefined || object.metadata.deletionTimestamp !== undefined) return;
    const owners = object.metadata.ownerReferences ?? [];
    if (
      owners.length === 0 ||
      owners.some((owner) => this.#exists(owner.uid, owner.apiVersion, owner.kind, object.metadata.namespace))
    )
      return;
    deleteObject(this.#rest, type, object, { dryRun: false });
  }

  #exists(uid: string, apiVersion: string, kind: string, namespace: string | undefined): boolean {
    const type = this.#registry.byKind(apiVersion, kind);
    // An owner of a kind that is not known may exist all the same: nothing is removed on a guess.
    if (type === undefined) return true;
    for (const object of this.#store.collection(collectionOf(type)).values())
      if (object.metadata.uid === uid && (!type.namespaced || object.metadata.namespace === namespace)) return true;
    return false;
  }

  /** Foreground: dependents go first. Orphan: they are set free. */
  #finalize(type: ResourceType, namespace: string, name: string): void {
    const object = this.#rest.find(type, namespace, name);
    if (object === undefined) return;
    const finalizers = object.metadata.finalizers ?? [];
    for (const [dependentType, dependent] of [...this.#dependents(object.metadata.uid)]) {
      if (finalizers.includes('orphan')) {
        const ownerReferences = (dependent.metadata.ownerReferences ?? []).filter(
          ({ uid }) => uid !== object.metadata.uid,
        );
        this.#rest.put(dependentType, { ...dependent, metadata: { ...dependent.metadata, ownerReferences } });
      } else if (dependent.metadata.deletionTimestamp === undefined)
        deleteObject(this.#rest, dependentType, dependent, { dryRun: false });
    }
    const left = finalizers.filter((finalizer) => finalizer !== 'orphan' && finalizer !== 'foregroundDeletion');
    if (left.length === 0) this.#rest.remove(type, object);
    else this.#rest.put(type, { ...object, metadata: { ...object.metadata, finalizers: left } });
  }

  /** Runs after the answer: controllers are never part of the request. */
  #later(work: () => void): void {
    this.#queue.push(work);
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      for (const next of this.#queue.splice(0)) {
        try {
          next();
        } catch (error) {
          this.#onFault(error);
        }
      }
    });
  }
}
