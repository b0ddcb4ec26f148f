/** Server-side apply: a manager says all that it wants; what it no longer says, and nobody else owns, goes. */
import { deepCopy, deepEqual, isObject, type Json, type KubeObject, type ManagedFieldsEntry } from '../object.ts';
import { entryOf } from '../managed-fields.ts';
import type { ResourceType } from '../resource-type.ts';
import type { WriteOptions } from '../rest.ts';
import { modelSchema } from '../schema/models.ts';
import { fieldSchema, resolved, type Schema } from '../schema/schema.ts';
import { ApiError, badRequest, qualified, type StatusCause } from '../status.ts';
import { decodeFields, elementOf, encodeFields, fieldsOf, readable, removeField, type FieldSet } from './field-set.ts';

export interface ApplyOptions extends WriteOptions {
  readonly name: string;
  readonly force: boolean;
}

/** The object with a manager's configuration applied. @throws ApiError Conflict when another manager owns what would change */
export function applied(
  type: ResourceType,
  old: KubeObject | undefined,
  config: unknown,
  options: ApplyOptions,
): KubeObject {
  const { fieldManager, subresource, name } = options;
  if (!isObject(config)) throw badRequest('the configuration to apply is no object');
  const metadata = isObject(config['metadata']) ? config['metadata'] : {};
  if (metadata['managedFields'] !== undefined) throw badRequest('metadata.managedFields must be nil');
  const wanted = fieldsOf(type, config, subresource);
  const entries = old?.metadata.managedFields ?? [];
  const own = (entry: ManagedFieldsEntry): boolean =>
    entry.operation === 'Apply' && entry.manager === fieldManager && (entry.subresource ?? '') === subresource;
  const others = entries
    .filter((entry) => !own(entry))
    .map((entry) => ({ entry, fields: decodeFields(entry.fieldsV1) }));
  yieldConflicts(type, old, wanted, others, options);
  const result = merge(
    old === undefined ? {} : deepCopy(old),
    { ...config, metadata: { ...metadata, name } },
    type.schema() ?? {},
    true,
  ) as KubeObject;
  const before = decodeFields(entries.find(own)?.fieldsV1);
  // The longest paths first: what is inside an item goes before the item.
  for (const field of [...before].sort((a, b) => b.length - a.length)) {
    if (wanted.has(field) || others.some(({ fields }) => ownsWithin(fields, field))) continue;
    removeField(type, result, field);
  }
  result.metadata.managedFields = [
    ...others
      .filter(({ fields }) => fields.size > 0)
      .map(({ entry, fields }) => ({ ...entry, fieldsV1: encodeFields(fields) })),
    ...(wanted.size === 0 ? [] : [entryOf(type, fieldManager, 'Apply', subresource, wanted.keys())]),
  ];
  if (old !== undefined) result.metadata.resourceVersion = old.metadata.resourceVersion;
  return result;
}

/** Whether a set has a field or anything below it. */
function ownsWithin(fields: FieldSet, field: string): boolean {
  const prefix = `${field.slice(0, -1)},`;
  return fields.has(field) || [...fields].some((other) => other.startsWith(prefix));
}

/** Takes fields that would change away from their owners, when that is forced; otherwise names them. */
function yieldConflicts(
  type: ResourceType,
  old: KubeObject | undefined,
  wanted: ReadonlyMap<string, unknown>,
  others: readonly { readonly entry: ManagedFieldsEntry; readonly fields: FieldSet }[],
  { name, force, subresource }: ApplyOptions,
): void {
  const present = fieldsOf(type, old, subresource);
  const causes: StatusCause[] = [];
  for (const [field, value] of wanted) {
    if (present.has(field) && deepEqual(present.get(field), value)) continue;
    for (const { entry, fields } of others) {
      if (!fields.has(field)) continue;
      if (force) fields.delete(field);
      else
        causes.push({
          reason: 'FieldManagerConflict',
          message: `conflict with "${entry.manager}" using ${entry.apiVersion}`,
          field: readable(field),
        });
    }
  }
  if (causes.length === 0) return;
  const [first] = causes;
  const text =
    causes.length === 1
      ? `1 conflict: ${first!.message}: ${first!.field!}`
      : `${causes.length} conflicts: ${causes.map(({ message, field }) => `${message}: ${field!}`).join(', ')}`;
  throw new ApiError(409, 'Conflict', `Apply failed with ${text}`, {
    name,
    group: type.group,
    kind: qualified(type),
    causes,
  });
}

function merge(target: unknown, config: unknown, schema: Schema, top = false): unknown {
  if (Array.isArray(config))
    return mergeLists(Array.isArray(target) ? (target as readonly unknown[]) : [], config, schema);
  if (!isObject(config) || schema['x-kubernetes-map-type'] === 'atomic') return config;
  const result: Json = isObject(target) ? { ...target } : {};
  for (const [field, value] of Object.entries(config)) {
    const inner = top && field === 'metadata' ? modelSchema('V1ObjectMeta') : (fieldSchema(schema, field) ?? {});
    result[field] = merge(result[field], value, inner);
  }
  return result;
}

function mergeLists(target: readonly unknown[], config: readonly unknown[], schema: Schema): unknown[] {
  const listType = schema['x-kubernetes-list-type'];
  if (listType !== 'map' && listType !== 'set') return [...config];
  const items = schema.items === undefined ? {} : resolved(schema.items);
  const result = [...target];
  for (const item of config) {
    const element = elementOf(item, schema);
    const at = result.findIndex((other) => elementOf(other, schema) === element);
    if (at < 0) result.push(item);
    else result[at] = merge(result[at], item, items);
  }
  return result;
}
