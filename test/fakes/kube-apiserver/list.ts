/** LIST: at which revision, which objects, and in pages. */
import type { KubeObject } from './object.ts';
import { collectionOf, type ResourceType } from './resource-type.ts';
import { inVersion } from './rest.ts';
import { fieldSelector, labelSelector, type Selector } from './selector.ts';
import { badRequest, expired, invalid, revisionTooLarge } from './status.ts';
import type { Store } from './store.ts';

export interface ListResult {
  readonly items: readonly KubeObject[];
  readonly metadata: { resourceVersion: string; continue?: string; remainingItemCount?: number };
}

interface Continue {
  readonly rv: number;
  /** Key of the first object of the page. */
  readonly start: string;
}

/** How long a real server waits for a revision that is ahead of it. */
const AHEAD_MS = 3_000;

const EXPIRED_CONTINUE =
  'The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.';

/** Label and field selector of a query together. */
export function querySelector(type: ResourceType, query: URLSearchParams): Selector | undefined {
  const labels = labelSelector(query.get('labelSelector') ?? '');
  const fields = fieldSelector(query.get('fieldSelector') ?? '', type.selectable);
  if (labels === undefined) return fields;
  return (object) => labels(object.metadata.labels ?? {}) && (fields === undefined || fields(object));
}

/** A revision as queries write it; undefined when absent. */
export function readRevision(text: string | null): number | undefined {
  if (text === null || text === '') return undefined;
  if (!/^\d+$/.test(text))
    throw badRequest(`Invalid value: "${text}": strconv.ParseUint: parsing "${text}": invalid syntax`);
  return Number(text);
}

/** `behind`: by how many revisions the cache lags that answers reads of any revision. */
export async function list(
  store: Store,
  type: ResourceType,
  namespace: string,
  query: URLSearchParams,
  behind = 0,
): Promise<ListResult> {
  const selector = querySelector(type, query);
  const asked = readRevision(query.get('resourceVersion'));
  const match = query.get('resourceVersionMatch') ?? '';
  const token = query.get('continue') ?? '';
  const limit = Number(query.get('limit') ?? 0);
  checkCombination(asked, match, token);
  if (token !== '') return page(store, type, namespace, selector, limit, readContinue(store, token));
  if (asked !== undefined && asked > store.revision) await reach(store, asked);
  if (match === 'Exact' || (asked !== undefined && asked > 0 && limit > 0 && match === '')) {
    if (asked! < store.compacted) throw expired(`The resourceVersion for the provided list is too old.`);
    return page(store, type, namespace, selector, limit, { rv: asked!, start: '' });
  }
  const revision = asked === undefined ? store.revision : Math.max(asked, store.revision - behind, store.compacted);
  // A read of any revision is answered from memory, whole, whatever the limit.
  const cached = asked === 0;
  return page(store, type, namespace, selector, cached ? 0 : limit, { rv: revision, start: '' });
}

function checkCombination(asked: number | undefined, match: string, token: string): void {
  const refuse = (message: string): never => {
    throw invalid({ group: 'meta.k8s.io', plural: '', kind: 'ListOptions' }, '', [
      { reason: 'FieldValueForbidden', field: 'resourceVersionMatch', message: `Forbidden: ${message}` },
    ]);
  };
  if (token !== '' && asked !== undefined && asked > 0)
    throw badRequest('specifying resource version is not allowed when using continue');
  if (match === '') return;
  if (!['Exact', 'NotOlderThan'].includes(match)) refuse(`supported values: "Exact", "NotOlderThan"`);
  if (token !== '') refuse('resourceVersionMatch is forbidden when continue is provided');
  if (asked === undefined) refuse('resourceVersionMatch is forbidden unless resourceVersion is provided');
  if (match === 'Exact' && asked === 0) refuse('resourceVersionMatch "exact" is forbidden for resourceVersion "0"');
}

async function reach(store: Store, revision: number): Promise<void> {
  const deadline = Date.now() + AHEAD_MS;
  while (store.revision < revision) {
    if (Date.now() > deadline) throw revisionTooLarge(revision, store.revision);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function readContinue(store: Store, token: string): Continue {
  let read: { v?: string; rv?: number; start?: string };
  try {
    read = JSON.parse(Buffer.from(token, 'base64url').toString()) as typeof read;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    read = {};
  }
  const { v, rv, start } = read;
  if (v !== 'meta.k8s.io/v1' || rv === undefined || start === undefined)
    throw badRequest('continue key is not valid: illegal base64 data or encoding');
  // -1: go on at the latest revision, knowing that the pages do not fit together.
  if (rv === -1) return { rv: store.revision, start };
  if (rv < store.compacted) throw expired(EXPIRED_CONTINUE, encodeContinue({ rv: -1, start }));
  return { rv, start };
}

const encodeContinue = (token: Continue): string =>
  Buffer.from(JSON.stringify({ v: 'meta.k8s.io/v1', ...token })).toString('base64url');

function page(
  store: Store,
  type: ResourceType,
  namespace: string,
  selector: Selector | undefined,
  limit: number,
  { rv, start }: Continue,
): ListResult {
  const collection = store.collection(collectionOf(type));
  const prefix = namespace === '' ? '' : `${namespace}/`;
  const items: KubeObject[] = [];
  let [remaining, next] = [0, ''];
  for (const key of collection.keysFrom(start > prefix ? start : prefix)) {
    if (!key.startsWith(prefix)) break;
    const stored = collection.get(key, rv);
    if (stored === undefined) continue;
    if (limit > 0 && items.length >= limit) {
      if (next === '') next = key;
      remaining++;
      // Counting the rest is only cheap, and only done, when all objects are wanted.
      if (selector !== undefined) break;
      continue;
    }
    const object = inVersion(type, stored);
    if (selector === undefined || selector(object)) items.push(object);
  }
  const metadata: ListResult['metadata'] = { resourceVersion: String(rv) };
  if (next !== '') {
    metadata.continue = encodeContinue({ rv, start: next });
    if (selector === undefined) metadata.remainingItemCount = remaining;
  }
  return { items, metadata };
}
