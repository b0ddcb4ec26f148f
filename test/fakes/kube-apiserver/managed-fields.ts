/** Who owns which field: `metadata.managedFields`, kept with every write. */
import { deepEqual, timestamp, type KubeObject, type ManagedFieldsEntry } from './object.ts';
import { decodeFields, encodeFields, fieldsOf } from './patch/field-set.ts';
import { apiVersionOf, type ResourceType } from './resource-type.ts';
import type { WriteOptions } from './rest.ts';

/** Notes, in place, that a manager wrote what differs between two versions: it owns that from now on, and nobody else does. */
export function trackUpdate(
  type: ResourceType,
  old: KubeObject | undefined,
  object: KubeObject,
  options: WriteOptions,
): void {
  const { fieldManager: manager, subresource } = options;
  const before = fieldsOf(type, old, subresource);
  const after = fieldsOf(type, object, subresource);
  const changed = new Set<string>();
  for (const [field, value] of after)
    if (!before.has(field) || !deepEqual(before.get(field), value)) changed.add(field);
  const gone = [...before.keys()].filter((field) => !after.has(field));
  const cleared = object.metadata.managedFields?.length === 0;
  const entries = cleared ? [] : (old?.metadata.managedFields ?? []);
  const own = (entry: ManagedFieldsEntry): boolean =>
    entry.operation === 'Update' &&
    entry.manager === manager &&
    (entry.subresource ?? '') === subresource &&
    entry.apiVersion === apiVersionOf(type);
  if (changed.size === 0 && gone.length === 0) {
    setEntries(object, entries);
    return;
  }
  const result: ManagedFieldsEntry[] = [];
  for (const entry of entries) {
    if (own(entry)) continue;
    const kept = decodeFields(entry.fieldsV1);
    for (const field of [...changed, ...gone]) kept.delete(field);
    if (kept.size > 0) result.push({ ...entry, fieldsV1: encodeFields(kept) });
  }
  const mine = decodeFields(entries.find(own)?.fieldsV1);
  for (const field of gone) mine.delete(field);
  for (const field of changed) mine.add(field);
  if (mine.size > 0) result.push(entryOf(type, manager, 'Update', subresource, mine));
  setEntries(object, result);
}

export function entryOf(
  type: ResourceType,
  manager: string,
  operation: 'Apply' | 'Update',
  subresource: string,
  fields: Iterable<string>,
): ManagedFieldsEntry {
  return {
    manager,
    operation,
    apiVersion: apiVersionOf(type),
    time: timestamp(),
    fieldsType: 'FieldsV1',
    fieldsV1: encodeFields(fields),
    ...(subresource !== '' && { subresource }),
  };
}

function setEntries(object: KubeObject, entries: ManagedFieldsEntry[]): void {
  if (entries.length === 0) Reflect.deleteProperty(object.metadata, 'managedFields');
  else object.metadata.managedFields = entries;
}
