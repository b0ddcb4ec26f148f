/** OpenAPI v3 schemas as custom resource definitions write them, and as the built-in kinds are described here. */
import { isObject } from '../object.ts';

export interface ValidationRule {
  readonly rule: string;
  readonly message?: string;
  readonly messageExpression?: string;
  readonly reason?: string;
  readonly fieldPath?: string;
  readonly optionalOldSelf?: boolean;
}

export interface Schema {
  /** Name of a built-in model, resolved by {@link resolved}. */
  readonly $ref?: string;
  readonly type?: string;
  readonly format?: string;
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: Schema | boolean;
  readonly items?: Schema;
  readonly required?: readonly string[];
  readonly enum?: readonly unknown[];
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: boolean;
  readonly exclusiveMaximum?: boolean;
  readonly multipleOf?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly uniqueItems?: boolean;
  readonly minProperties?: number;
  readonly maxProperties?: number;
  readonly default?: unknown;
  readonly nullable?: boolean;
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly allOf?: readonly Schema[];
  readonly not?: Schema;
  readonly 'x-kubernetes-preserve-unknown-fields'?: boolean;
  readonly 'x-kubernetes-int-or-string'?: boolean;
  readonly 'x-kubernetes-embedded-resource'?: boolean;
  readonly 'x-kubernetes-list-type'?: 'atomic' | 'set' | 'map';
  readonly 'x-kubernetes-list-map-keys'?: readonly string[];
  readonly 'x-kubernetes-map-type'?: 'atomic' | 'granular';
  readonly 'x-kubernetes-patch-strategy'?: string;
  readonly 'x-kubernetes-patch-merge-key'?: string;
  readonly 'x-kubernetes-validations'?: readonly ValidationRule[];
}

type Resolver = (name: string) => Schema;
let resolver: Resolver = (name) => {
  throw new Error(`no model ${name}`);
};

/** Set once by the built-in models, which know each other by name. */
export function resolveModelsWith(resolve: Resolver): void {
  resolver = resolve;
}

export function resolved(schema: Schema): Schema {
  return schema.$ref === undefined ? schema : resolver(schema.$ref);
}

/** Schema of a field; undefined when the field is unknown, `{}` when anything goes. */
export function fieldSchema(schema: Schema, field: string): Schema | undefined {
  const property = schema.properties?.[field];
  if (property !== undefined) return resolved(property);
  const { additionalProperties } = schema;
  if (isObject(additionalProperties)) return resolved(additionalProperties);
  if (additionalProperties === true || schema['x-kubernetes-preserve-unknown-fields'] === true) return {};
  return isOpaque(schema) ? {} : undefined;
}

/** A schema that says nothing of its fields takes any. */
function isOpaque(schema: Schema): boolean {
  return schema.properties === undefined && schema.type === undefined && schema.items === undefined;
}

/**
 * Removes what the schema does not know, in place, and returns the paths that were removed. The top level keeps
 * apiVersion, kind and metadata, whose schema is not the definition's to give.
 */
export function prune(value: unknown, schema: Schema, path = '', top = true): string[] {
  if (Array.isArray(value)) {
    const items = schema.items === undefined ? {} : resolved(schema.items);
    return value.flatMap((item, i) => prune(item, items, `${path}[${i}]`, false));
  }
  if (!isObject(value)) return [];
  const removed: string[] = [];
  const embedded = top || schema['x-kubernetes-embedded-resource'] === true;
  for (const [field, inner] of Object.entries(value)) {
    if (embedded && ['apiVersion', 'kind', 'metadata'].includes(field)) continue;
    const at = path === '' ? field : `${path}.${field}`;
    const known = fieldSchema(schema, field);
    if (known === undefined) {
      removed.push(at);
      // eslint-disable-next-line @typescript-eslint/no-dynamic-delete -- the object is plain JSON
      delete value[field];
    } else removed.push(...prune(inner, known, at, false));
  }
  return removed;
}

/** Writes the defaults of absent fields, in place; null counts as absent where null is not allowed. */
export function applyDefaults(value: unknown, schema: Schema): void {
  if (Array.isArray(value)) {
    if (schema.items !== undefined) for (const item of value) applyDefaults(item, resolved(schema.items));
    return;
  }
  if (!isObject(value)) return;
  for (const [field, property] of Object.entries(schema.properties ?? {})) {
    const inner = resolved(property);
    const absent = value[field] === undefined || (value[field] === null && inner.nullable !== true);
    if (absent && inner.default !== undefined) value[field] = structuredClone(inner.default);
    applyDefaults(value[field], inner);
  }
  if (!isObject(schema.additionalProperties)) return;
  const inner = resolved(schema.additionalProperties);
  for (const [field, item] of Object.entries(value))
    if (schema.properties?.[field] === undefined) applyDefaults(item, inner);
}

/** Removes nulls of fields that may not be null, as decoding into a structure does. */
export function dropNulls(value: unknown): void {
  if (Array.isArray(value)) for (const item of value) dropNulls(item);
  else if (isObject(value)) {
    for (const [field, inner] of Object.entries(value)) {
      // eslint-disable-next-line @typescript-eslint/no-dynamic-delete -- the object is plain JSON
      if (inner === null) delete value[field];
      else dropNulls(inner);
    }
  }
}
