/**
 * Sets of fields, as `metadata.managedFields` has them: what belongs to one manager. A field is a path of elements: `f:name`
 * of an object's field, `k:{"name":"x"}` of an item of a keyed list, `v:"x"` of a member of a set.
 */
import { isObject, type Json, type KubeObject } from '../object.ts';
import type { ResourceType } from '../resource-type.ts';
import { modelSchema } from '../schema/models.ts';
import { fieldSchema, resolved, type Schema } from '../schema/schema.ts';

/** Paths as JSON lists of elements. */
export type FieldSet = Set<string>;

const SERVER_OWNED = new Set([
  'name',
  'namespace',
  'uid',
  'resourceVersion',
  'creationTimestamp',
  'generation',
  'managedFields',
  'selfLink',
  'deletionTimestamp',
  'deletionGracePeriodSeconds',
  'generateName',
]);

/** Every owned field of an object with its value; the values of keyed items and of members are no part of the comparison. */
export function fieldsOf(type: ResourceType, object: unknown, subresource: string): Map<string, unknown> {
  const fields = new Map<string, unknown>();
  if (!isObject(object)) return fields;
  const schema = type.schema() ?? {};
  for (const [field, value] of Object.entries(object)) {
    if (field === 'apiVersion' || field === 'kind') continue;
    if (type.subresources.status && field !== 'metadata' && (field === 'status') !== (subresource === 'status'))
      continue;
    if (field !== 'metadata') collect(value, fieldSchema(schema, field) ?? {}, [`f:${field}`], fields);
    else if (isObject(value)) {
      for (const [name, inner] of Object.entries(value))
        if (!SERVER_OWNED.has(name))
          collect(inner, fieldSchema(modelSchema('V1ObjectMeta'), name) ?? {}, ['f:metadata', `f:${name}`], fields);
    }
  }
  return fields;
}

function collect(value: unknown, schema: Schema, path: readonly string[], fields: Map<string, unknown>): void {
  const listType = schema['x-kubernetes-list-type'];
  if (Array.isArray(value) && (listType === 'map' || listType === 'set')) {
    const items = schema.items === undefined ? {} : resolved(schema.items);
    for (const item of value) {
      const at = [...path, elementOf(item, schema)];
      fields.set(JSON.stringify(at), undefined);
      if (listType === 'map' && isObject(item))
        for (const [field, inner] of Object.entries(item))
          collect(inner, fieldSchema(items, field) ?? {}, [...at, `f:${field}`], fields);
    }
    return;
  }
  const entries = isObject(value) && schema['x-kubernetes-map-type'] !== 'atomic' ? Object.entries(value) : [];
  if (entries.length === 0) fields.set(JSON.stringify(path), value);
  for (const [field, inner] of entries)
    collect(inner, fieldSchema(schema, field) ?? {}, [...path, `f:${field}`], fields);
}

/** Element of an item of a keyed list or of a set. */
export function elementOf(item: unknown, schema: Schema): string {
  if (schema['x-kubernetes-list-type'] === 'set' || !isObject(item)) return `v:${JSON.stringify(item)}`;
  // The one key with a default, wherever it is one.
  const keys = (schema['x-kubernetes-list-map-keys'] ?? []).map((key) => [
    key,
    item[key] ?? (key === 'protocol' ? 'TCP' : null),
  ]);
  return `k:${JSON.stringify(Object.fromEntries(keys))}`;
}

/** As `fieldsV1`. */
export function encodeFields(fields: Iterable<string>): Json {
  const root: Json = {};
  for (const text of fields) {
    let node = root;
    const path = JSON.parse(text) as string[];
    for (const element of path) node = (node[element] ??= {}) as Json;
    if (/^[kv]:/.test(path.at(-1)!)) node['.'] = {};
  }
  return root;
}

export function decodeFields(fieldsV1: unknown): FieldSet {
  const fields: FieldSet = new Set();
  const walk = (node: Json, path: readonly string[]): void => {
    const children = Object.entries(node).filter(([element]) => element !== '.');
    if (path.length > 0 && (children.length === 0 || '.' in node)) fields.add(JSON.stringify(path));
    for (const [element, child] of children) if (isObject(child)) walk(child, [...path, element]);
  };
  if (isObject(fieldsV1)) walk(fieldsV1, []);
  return fields;
}

/** Removes what stands at a path, in place; of a list the item or member. */
export function removeField(type: ResourceType, object: KubeObject, text: string): void {
  const path = JSON.parse(text) as string[];
  let value: unknown = object;
  let schema: Schema = type.schema() ?? {};
  for (const [i, element] of path.entries()) {
    const last = i === path.length - 1;
    if (element.startsWith('f:')) {
      if (!isObject(value)) return;
      const field = element.slice(2);
      if (last) Reflect.deleteProperty(value, field);
      else {
        schema = i === 0 && field === 'metadata' ? modelSchema('V1ObjectMeta') : (fieldSchema(schema, field) ?? {});
        value = value[field];
      }
    } else {
      if (!Array.isArray(value)) return;
      const list = value as unknown[];
      const index = list.findIndex((item) => elementOf(item, schema) === element);
      if (index < 0) return;
      if (last) list.splice(index, 1);
      else {
        value = list[index];
        schema = schema.items === undefined ? {} : resolved(schema.items);
      }
    }
  }
}

/** `.spec.containers[name="x"].image`, as conflicts name fields. */
export function readable(text: string): string {
  return (JSON.parse(text) as string[])
    .map((element) => {
      if (element.startsWith('f:')) return `.${element.slice(2)}`;
      if (element.startsWith('v:')) return `[${element.slice(2)}]`;
      const keys = JSON.parse(element.slice(2)) as Json;
      return `[${Object.entries(keys)
        .map(([key, value]) => `${key}=${JSON.stringify(value)}`)
        .join(',')}]`;
    })
    .join('');
}
