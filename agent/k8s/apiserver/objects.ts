/** Objects as an API server keeps them, for duties that write them: with their versions. */
import type { ApiServer, JsonObject, Query } from './client.ts';
import { isRefusal } from './client.ts';
import { isRecord } from '../object-meta.ts';

export interface ObjectMeta {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly generation: number | undefined;
  /** Milliseconds since the epoch. */
  readonly created: number;
  readonly deleted: boolean;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly owners: readonly { readonly kind: string; readonly name: string; readonly uid: string }[];
}

/** Objects a page. */
const PAGE = 500;

/** Every object of a collection, in pages, at one revision. @throws as {@link ApiServer.request} */
export async function* listAll(server: ApiServer, path: string, query: Query = {}): AsyncGenerator<JsonObject> {
  let next: unknown;
  do {
    const page = await server.request({
      method: 'GET',
      path,
      query: { limit: PAGE, ...query, ...(typeof next === 'string' && { continue: next }) },
    });
    yield* recordsOf(page['items']);
    next = recordOf(page['metadata'])['continue'];
  } while (typeof next === 'string' && next !== '');
}

/** The object, or undefined when there is none. @throws as {@link ApiServer.request} for anything but 404 */
export async function getObject(server: ApiServer, path: string): Promise<JsonObject | undefined> {
  try {
    return await server.request({ method: 'GET', path });
  } catch (error) {
    if (isRefusal(error, 404)) return undefined;
    throw error;
  }
}

/**
 * Deletes the very version that was looked at.
 *
 * @returns false when it is gone, or no longer that version
 */
export async function deleteVersion(
  server: ApiServer,
  path: string,
  { uid, resourceVersion }: ObjectMeta,
): Promise<boolean> {
  try {
    await server.request({ method: 'DELETE', path, body: { preconditions: { uid, resourceVersion } } });
    return true;
  } catch (error) {
    if (isRefusal(error, 404) || isRefusal(error, 409)) return false;
    throw error;
  }
}

export function metaOf(object: JsonObject): ObjectMeta {
  const meta = recordOf(object['metadata']);
  return {
    name: textOf(meta['name']),
    namespace: textOf(meta['namespace']),
    uid: textOf(meta['uid']),
    resourceVersion: textOf(meta['resourceVersion']),
    generation: typeof meta['generation'] === 'number' ? meta['generation'] : undefined,
    created: Date.parse(textOf(meta['creationTimestamp'])),
    deleted: meta['deletionTimestamp'] !== undefined,
    labels: textsOf(meta['labels']),
    annotations: textsOf(meta['annotations']),
    owners: recordsOf(meta['ownerReferences']).map((owner) => ({
      kind: textOf(owner['kind']),
      name: textOf(owner['name']),
      uid: textOf(owner['uid']),
    })),
  };
}

/** A mapping, or an empty one. */
export const recordOf = (value: unknown): JsonObject => (isRecord(value) ? value : {});

/** The mappings of a list, or none. */
export const recordsOf = (value: unknown): JsonObject[] =>
  Array.isArray(value) ? (value as readonly unknown[]).filter(isRecord) : [];

export const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');

function textsOf(value: unknown): Record<string, string> {
  return Object.fromEntries(Object.entries(recordOf(value)).map(([key, item]) => [key, String(item)]));
}
