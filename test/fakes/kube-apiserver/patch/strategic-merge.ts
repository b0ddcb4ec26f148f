/** Strategic merge patch: a merge patch that merges lists by key, and knows directives (`$patch`, `$retainKeys`, …). */
import { deepEqual, isObject, type Json } from '../object.ts';
import { fieldSchema, resolved, type Schema } from '../schema/schema.ts';
import { badRequest } from '../status.ts';

const DELETE_FROM_LIST = '$deleteFromPrimitiveList/';
const ORDER = '$setElementOrder/';

export function applyStrategicMergePatch(target: unknown, patch: unknown, schema: Schema): unknown {
  if (!isObject(patch)) return patch;
  if (patch['$patch'] === 'replace') return withoutDirectives(patch);
  if (patch['$patch'] === 'delete') return {};
  const result: Json = isObject(target) ? { ...target } : {};
  const retain = patch['$retainKeys'];
  if (Array.isArray(retain)) {
    // eslint-disable-next-line @typescript-eslint/no-dynamic-delete -- the object is plain JSON
    for (const field of Object.keys(result)) if (!retain.includes(field)) delete result[field];
  }
  for (const [field, value] of Object.entries(patch)) {
    if (field.startsWith(DELETE_FROM_LIST)) {
      const name = field.slice(DELETE_FROM_LIST.length);
      result[name] = asList(result[name]).filter((item) => !asList(value).some((gone) => deepEqual(gone, item)));
    } else if (!field.startsWith('$')) mergeField(result, field, value, fieldSchema(schema, field) ?? {});
  }
  for (const [field, order] of Object.entries(patch)) {
    if (!field.startsWith(ORDER)) continue;
    const name = field.slice(ORDER.length);
    if (Array.isArray(result[name]))
      result[name] = ordered(result[name], asList(order), mergeKey(fieldSchema(schema, name) ?? {}));
  }
  return result;
}

function mergeField(result: Json, field: string, value: unknown, schema: Schema): void {
  // eslint-disable-next-line @typescript-eslint/no-dynamic-delete -- the object is plain JSON
  if (value === null) delete result[field];
  else if (Array.isArray(value)) result[field] = mergeList(asList(result[field]), value, schema);
  else if (isObject(value)) result[field] = applyStrategicMergePatch(result[field], value, schema);
  else result[field] = value;
}

function mergeList(target: readonly unknown[], patch: readonly unknown[], schema: Schema): unknown[] {
  if (!(schema['x-kubernetes-patch-strategy'] ?? '').includes('merge')) return [...patch];
  const key = mergeKey(schema);
  if (key === undefined) return [...target, ...patch.filter((item) => !target.some((old) => deepEqual(old, item)))];
  const items = schema.items === undefined ? {} : resolved(schema.items);
  if (patch.some((item) => isObject(item) && item['$patch'] === 'replace'))
    return patch.filter((item) => !isObject(item) || item['$patch'] !== 'replace');
  let result = [...target];
  for (const item of patch) {
    if (!isObject(item)) throw badRequest('strategic merge patch: a list of objects has an item that is none');
    const id = item[key];
    if (id === undefined) throw badRequest(`map: ${JSON.stringify(item)} does not contain declared merge key: ${key}`);
    const same = (old: unknown): boolean => isObject(old) && deepEqual(old[key], id);
    if (item['$patch'] === 'delete') result = result.filter((old) => !same(old));
    else {
      const at = result.findIndex(same);
      if (at < 0) result.push(applyStrategicMergePatch({}, item, items));
      else result[at] = applyStrategicMergePatch(result[at], item, items);
    }
  }
  return result;
}

/** Items in the given order; those that it does not name keep their places behind what stood before them. */
function ordered(list: readonly unknown[], order: readonly unknown[], key: string | undefined): unknown[] {
  const id = (item: unknown): string => JSON.stringify(key !== undefined && isObject(item) ? item[key] : item);
  const rank = new Map(order.map((item, i) => [id(item), i]));
  let last = -1;
  const ranked = list.map((item) => ({ item, rank: (last = rank.get(id(item)) ?? last) }));
  return ranked.sort((a, b) => a.rank - b.rank).map(({ item }) => item);
}

const mergeKey = (schema: Schema): string | undefined => schema['x-kubernetes-patch-merge-key'];

const asList = (value: unknown): readonly unknown[] => (Array.isArray(value) ? (value as readonly unknown[]) : []);

function withoutDirectives(patch: Json): Json {
  return Object.fromEntries(Object.entries(patch).filter(([field]) => !field.startsWith('$')));
}
