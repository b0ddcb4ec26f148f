/** Objects that this agent keeps at an API server, as a target of a reconciler. */
import { isDeepStrictEqual } from 'node:util';
import type { ResourceKind } from '../../model/resource.ts';
import { collectionPath, preferredApiVersion } from '../kinds.ts';
import { isRecord } from '../object-meta.ts';
import { isRefusal, PATCH, type ApiServer, type JsonObject } from './client.ts';
import { getObject } from './objects.ts';
import type { WriteLimiter } from './write-limiter.ts';

export interface ObjectKey {
  readonly kind: ResourceKind;
  /** Empty for cluster-scoped kinds. */
  readonly namespace: string;
  readonly name: string;
}

/** An object as it is wanted. What others wrote into it besides stays. */
export interface WantedObject extends ObjectKey {
  readonly labels?: Readonly<Record<string, string>>;
  readonly owner?: { readonly apiVersion: string; readonly kind: string; readonly name: string; readonly uid: string };
  readonly spec?: JsonObject;
  readonly status?: JsonObject;
  /** Raised to have it written again though nothing changed here: somebody else has changed it. */
  readonly attempt?: number;
}

export const wantedObjectType = {
  keyOf: ({ kind, namespace, name }: WantedObject): ObjectKey => ({ kind, namespace, name }),
  keyText: ({ kind, namespace, name }: ObjectKey): string => `${kind} ${namespace}/${name}`,
  equals: (a: WantedObject, b: WantedObject): boolean => isDeepStrictEqual(a, b),
};

/** What the server is known to hold of ours. */
interface Written {
  readonly object: WantedObject;
  readonly uid: string;
}

/** How many requests are under way at once. */
const PARALLEL = 8;

export class ObjectTarget {
  readonly #server: ApiServer;
  readonly #limiter: Pick<WriteLimiter, 'take'>;
  readonly #written = new Map<string, Written>();

  constructor(server: ApiServer, limiter: Pick<WriteLimiter, 'take'>) {
    this.#server = server;
    this.#limiter = limiter;
  }

  /** @throws ApiRefusal, WeirError KUBERNETES_UNREACHABLE; what did succeed is not written again by the next call. */
  async update(objects: readonly WantedObject[]): Promise<void> {
    await inParallel(objects, (object) => this.#write(object));
  }

  async delete(keys: readonly ObjectKey[]): Promise<void> {
    await inParallel(keys, (key) => this.#delete(key));
  }

  /** What is at the server and not wanted is found by whoever watches it: see {@link deleteForeign}. */
  prune(): Promise<void> {
    return Promise.resolve();
  }

  /** The object as it stands now, whoever wrote it; undefined when there is none. */
  read(key: ObjectKey): Promise<JsonObject | undefined> {
    return getObject(this.#server, pathOf(key));
  }

  /** Deletes the object of exactly this uid; one that took its name since stays. */
  async deleteForeign(key: ObjectKey, uid: string): Promise<void> {
    await this.#limiter.take();
    try {
      await this.#server.request({ method: 'DELETE', path: pathOf(key), body: { preconditions: { uid } } });
    } catch (error) {
      if (!isRefusal(error, 404) && !isRefusal(error, 409)) throw error;
    }
  }

  async #write(object: WantedObject): Promise<void> {
    const text = wantedObjectType.keyText(object);
    const written = this.#written.get(text);
    if (written !== undefined && isDeepStrictEqual(written.object, object)) return;
    const body = bodyOf(object);
    const sameBody =
      written !== undefined &&
      written.object.attempt === object.attempt &&
      isDeepStrictEqual(bodyOf(written.object), body);
    // From here on it is not known what the server holds.
    this.#written.delete(text);
    const uid = sameBody ? written.uid : await this.#writeBody(object, body);
    if (object.status !== undefined && !(await this.#writeStatus(object, object.status))) {
      // Somebody deleted it under our eyes.
      await this.#writeBody(object, body);
      await this.#writeStatus(object, object.status);
    }
    this.#written.set(text, { object, uid });
  }

  /** Creates the object, or brings what is ours in it up to date. @returns its uid */
  async #writeBody(object: WantedObject, body: JsonObject): Promise<string> {
    const { kind, namespace } = object;
    await this.#limiter.take();
    try {
      const path = collectionPath(kind, preferredApiVersion(kind), namespace);
      // Where status is no part of its own, it is written here.
      const whole = object.status === undefined ? body : { ...body, status: object.status };
      return uidOf(await this.#server.request({ method: 'POST', path, body: whole }));
    } catch (error) {
      if (!isRefusal(error, 409)) throw error;
    }
    return await this.#patchBody(object, body);
  }

  async #patchBody(object: WantedObject, body: JsonObject): Promise<string> {
    await this.#limiter.take();
    try {
      const path = pathOf(object);
      return uidOf(await this.#server.request({ method: 'PATCH', path, body, contentType: PATCH.merge }));
    } catch (error) {
      if (!isRefusal(error, 403) || object.owner === undefined) throw error;
    }
    // Where OwnerReferencesPermissionEnforcement is on, only who may delete an object may change its owner. The operator
    // collects those without one as well.
    const { owner: _, ...ownerless } = object;
    return await this.#patchBody(ownerless, bodyOf(ownerless));
  }

  /**
   * Definitions that are not Weir's may have the status as a field like any other: Cilium's of CiliumEndpoint has.
   *
   * @returns false when there is no such object
   */
  async #writeStatus(object: WantedObject, status: JsonObject): Promise<boolean> {
    const body = [{ op: 'add', path: '/status', value: status }];
    for (const path of [`${pathOf(object)}/status`, pathOf(object)]) {
      await this.#limiter.take();
      try {
        await this.#server.request({ method: 'PATCH', path, body, contentType: PATCH.json });
        return true;
      } catch (error) {
        if (!isRefusal(error, 404)) throw error;
      }
    }
    return false;
  }

  async #delete(key: ObjectKey): Promise<void> {
    const text = wantedObjectType.keyText(key);
    const written = this.#written.get(text);
    // What was not written is not ours to delete: the name may have gone to somebody else.
    if (written !== undefined) await this.deleteForeign(key, written.uid);
    this.#written.delete(text);
  }
}

const pathOf = (key: ObjectKey): string =>
  `${collectionPath(key.kind, preferredApiVersion(key.kind), key.namespace)}/${key.name}`;

function bodyOf({ kind, namespace, name, labels, owner, spec }: WantedObject): JsonObject {
  return {
    apiVersion: preferredApiVersion(kind),
    kind,
    metadata: {
      name,
      ...(namespace !== '' && { namespace }),
      ...(labels !== undefined && { labels }),
      ...(owner !== undefined && { ownerReferences: [owner] }),
    },
    ...(spec !== undefined && { spec }),
  };
}

function uidOf({ metadata }: JsonObject): string {
  const uid = isRecord(metadata) ? metadata['uid'] : undefined;
  return typeof uid === 'string' ? uid : '';
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
