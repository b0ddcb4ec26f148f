import { isDeepStrictEqual } from 'node:util';
import { RESOURCE_KINDS, type Resource, type ResourceEvent } from '../model/resource.ts';

/** Resources by {@link resourceKey}. */
export type ResourceSet = ReadonlyMap<string, Resource>;

/** A text that is equal for the same object, and only for it. A version of the API is not part of what an object is. */
export function resourceKey(r: Pick<Resource, 'kind' | 'namespace' | 'name'>): string {
  return `${r.kind}/${r.namespace}/${r.name}`;
}

/**
 * The events that lead from `before` to `after`. Upserts come before deletes, so that a policy that is renamed never
 * leaves its subjects without one. Upserts go in the order of `RESOURCE_KINDS`, which puts namespaces before what lies in
 * them; deletes go in the reverse order. Objects that did not change give no event, wherever they stand in their file.
 */
export function diffResources(before: ResourceSet, after: ResourceSet): ResourceEvent[] {
  const upserts: ResourceEvent[] = [];
  for (const resource of sorted(after.values())) {
    const old = before.get(resourceKey(resource));
    if (old === undefined || !sameObject(old, resource)) upserts.push({ type: 'upsert', resource });
  }
  const gone = [...before].filter(([key]) => !after.has(key)).map(([, resource]) => resource);
  const deletes = sorted(gone)
    .reverse()
    .map((resource): ResourceEvent => ({ type: 'delete', resource }));
  return [...upserts, ...deletes];
}

function sameObject(a: Resource, b: Resource): boolean {
  // Files that did not change hand in the very same objects.
  if (a === b) return true;
  return a.apiVersion === b.apiVersion && a.uid === b.uid && isDeepStrictEqual(a.object, b.object);
}

function sorted(resources: Iterable<Resource>): Resource[] {
  return [...resources].sort(
    (a, b) =>
      RESOURCE_KINDS.indexOf(a.kind) - RESOURCE_KINDS.indexOf(b.kind) ||
      compare(a.namespace, b.namespace) ||
      compare(a.name, b.name),
  );
}

const compare = (a: string, b: string): number => (a === b ? 0 : a < b ? -1 : 1);
