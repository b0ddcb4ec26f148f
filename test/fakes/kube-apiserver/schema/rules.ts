/** `x-kubernetes-validations`. There is no CEL here: of all rules the one is known that forbids change. */
import { deepEqual, isObject } from '../object.ts';
import type { StatusCause } from '../status.ts';
import { fieldSchema, type Schema } from './schema.ts';

const IMMUTABLE = 'self == oldSelf';

/** Violations by a change from `old`; none when there was nothing before. */
export function ruleViolations(value: unknown, old: unknown, schema: Schema, path = ''): StatusCause[] {
  if (value === undefined || old === undefined) return [];
  const found: StatusCause[] = [];
  for (const { rule, message } of schema['x-kubernetes-validations'] ?? []) {
    if (rule !== IMMUTABLE || deepEqual(value, old)) continue;
    const text = `Invalid value: "${isObject(value) ? 'object' : typeof value}": ${message ?? `failed rule: ${rule}`}`;
    found.push({ reason: 'FieldValueInvalid', field: path, message: text });
  }
  if (!isObject(value) || !isObject(old)) return found;
  for (const [field, inner] of Object.entries(value)) {
    const known = fieldSchema(schema, field);
    if (known !== undefined)
      found.push(...ruleViolations(inner, old[field], known, path === '' ? field : `${path}.${field}`));
  }
  return found;
}
