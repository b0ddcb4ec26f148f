/** Validates a value against a schema, in the words of a real API server. */
import { deepEqual, isObject, type Json } from '../object.ts';
import type { StatusCause } from '../status.ts';
import { fieldSchema, resolved, type Schema } from './schema.ts';

const EMPTY_PATH = '<nil>';

/** All violations; none when the value is valid. */
export function validate(value: unknown, schema: Schema, path = ''): StatusCause[] {
  if (value === null && schema.nullable === true) return [];
  const wrongType = typeViolation(value, schema, path);
  if (wrongType !== undefined) return [wrongType];
  const found = [...enumViolation(value, schema, path), ...combined(value, schema, path)];
  if (typeof value === 'string') found.push(...stringViolations(value, schema, path));
  else if (typeof value === 'number') found.push(...numberViolations(value, schema, path));
  else if (Array.isArray(value)) found.push(...listViolations(value, schema, path));
  else if (isObject(value)) found.push(...objectViolations(value, schema, path));
  return found;
}

function typeViolation(value: unknown, schema: Schema, path: string): StatusCause | undefined {
  if (schema['x-kubernetes-int-or-string'] === true) {
    if (typeof value === 'string' || Number.isInteger(value)) return undefined;
    return mustBe(value, 'integer,string', path);
  }
  const { type } = schema;
  if (type === undefined) return undefined;
  const actual = jsonType(value);
  if (type === actual || (type === 'number' && actual === 'integer')) return undefined;
  return mustBe(value, type, path);
}

const mustBe = (value: unknown, type: string, path: string): StatusCause =>
  bad(path, jsonType(value), `${inBody(path)} must be of type ${type}: "${jsonType(value)}"`, 'FieldValueTypeInvalid');

export function jsonType(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  if (typeof value === 'number') return Number.isInteger(value) ? 'integer' : 'number';
  return typeof value;
}

const inBody = (path: string): string => `${path} in body`;

function bad(path: string, value: unknown, message: string, reason = 'FieldValueInvalid'): StatusCause {
  return {
    reason,
    field: path === '' ? EMPTY_PATH : path,
    message: `Invalid value: ${JSON.stringify(value)}: ${message}`,
  };
}

function enumViolation(value: unknown, schema: Schema, path: string): StatusCause[] {
  if (schema.enum === undefined || schema.enum.some((allowed) => deepEqual(allowed, value))) return [];
  const supported = schema.enum.map((allowed) => JSON.stringify(allowed)).join(', ');
  return [
    {
      reason: 'FieldValueNotSupported',
      field: path,
      message: `Unsupported value: ${JSON.stringify(value)}: supported values: ${supported}`,
    },
  ];
}

function combined(value: unknown, schema: Schema, path: string): StatusCause[] {
  const found: StatusCause[] = (schema.allOf ?? []).flatMap((part) => validate(value, part, path));
  const name = path === '' ? '""' : path;
  if (schema.anyOf !== undefined && schema['x-kubernetes-int-or-string'] !== true) {
    const all = schema.anyOf.map((part) => validate(value, part, path));
    if (all.every((violations) => violations.length > 0)) {
      found.push(bad(path, shortened(value), `${name} must validate at least one schema (anyOf)`), ...all[0]!);
    }
  }
  if (schema.oneOf !== undefined) {
    const all = schema.oneOf.map((part) => validate(value, part, path));
    const valid = all.filter((violations) => violations.length === 0).length;
    if (valid !== 1) {
      found.push(
        bad(
          path,
          shortened(value),
          `${name} must validate one and only one schema (oneOf)${valid === 0 ? '. Found none valid' : ''}`,
        ),
      );
      if (valid === 0) found.push(...all[0]!);
    }
  }
  if (schema.not !== undefined && validate(value, schema.not, path).length === 0)
    found.push(bad(path, shortened(value), `${name} must not validate the schema (not)`));
  return found;
}

const shortened = (value: unknown): unknown => (isObject(value) || Array.isArray(value) ? jsonType(value) : value);

const patterns = new Map<string, RegExp>();

function patternOf(text: string): RegExp {
  let pattern = patterns.get(text);
  if (pattern === undefined) patterns.set(text, (pattern = new RegExp(text, 'u')));
  return pattern;
}

const FORMATS: Readonly<Record<string, RegExp>> = {
  'date-time': /^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$/,
  ipv4: /^(\d{1,3}\.){3}\d{1,3}$/,
  ipv6: /^[0-9a-fA-F:.]*:[0-9a-fA-F:.]*$/,
  cidr: /^((\d{1,3}\.){3}\d{1,3}\/([12]?\d|3[0-2])|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*\/(\d{1,2}|1[01]\d|12[0-8]))$/,
  byte: /^[A-Za-z0-9+/]*={0,2}$/,
};

function stringViolations(value: string, schema: Schema, path: string): StatusCause[] {
  const found: StatusCause[] = [];
  const length = Array.from(value).length;
  if (schema.minLength !== undefined && length < schema.minLength)
    found.push(bad(path, value, `${inBody(path)} should be at least ${schema.minLength} chars long`));
  if (schema.maxLength !== undefined && length > schema.maxLength)
    found.push({
      reason: 'FieldValueTooLong',
      field: path,
      message: `Too long: may not be more than ${schema.maxLength} bytes`,
    });
  if (schema.pattern !== undefined && !patternOf(schema.pattern).test(value))
    found.push(bad(path, value, `${inBody(path)} should match '${schema.pattern}'`));
  const format = schema.format === undefined ? undefined : FORMATS[schema.format];
  if (format !== undefined && !format.test(value))
    found.push(bad(path, value, `${inBody(path)} must be of type ${schema.format!}: "${value}"`));
  return found;
}

function numberViolations(value: number, schema: Schema, path: string): StatusCause[] {
  const found: StatusCause[] = [];
  const { minimum, maximum, multipleOf } = schema;
  if (minimum !== undefined && (schema.exclusiveMinimum === true ? value <= minimum : value < minimum))
    found.push(
      bad(
        path,
        value,
        `${inBody(path)} should be greater than ${schema.exclusiveMinimum === true ? '' : 'or equal to '}${minimum}`,
      ),
    );
  if (maximum !== undefined && (schema.exclusiveMaximum === true ? value >= maximum : value > maximum))
    found.push(
      bad(
        path,
        value,
        `${inBody(path)} should be less than ${schema.exclusiveMaximum === true ? '' : 'or equal to '}${maximum}`,
      ),
    );
  if (multipleOf !== undefined && value % multipleOf !== 0)
    found.push(bad(path, value, `${inBody(path)} should be a multiple of ${multipleOf}`));
  return found;
}

function listViolations(value: readonly unknown[], schema: Schema, path: string): StatusCause[] {
  const found: StatusCause[] = [];
  const { minItems, maxItems } = schema;
  if (minItems !== undefined && value.length < minItems)
    found.push(bad(path, value.length, `${inBody(path)} should have at least ${minItems} items`));
  if (maxItems !== undefined && value.length > maxItems)
    found.push({
      reason: 'FieldValueTooMany',
      field: path,
      message: `Too many: ${value.length}: must have at most ${maxItems} items`,
    });
  found.push(...duplicates(value, schema, path));
  if (schema.items !== undefined) {
    const items = resolved(schema.items);
    for (const [i, item] of value.entries()) found.push(...validate(item, items, `${path}[${i}]`));
  }
  return found;
}

function duplicates(value: readonly unknown[], schema: Schema, path: string): StatusCause[] {
  const keys = schema['x-kubernetes-list-map-keys'];
  const type = schema['x-kubernetes-list-type'];
  if (type !== 'set' && type !== 'map' && schema.uniqueItems !== true) return [];
  const seen = new Set<string>();
  const found: StatusCause[] = [];
  for (const [i, item] of value.entries()) {
    const key =
      type === 'map' && isObject(item) ? Object.fromEntries((keys ?? []).map((name) => [name, item[name]])) : item;
    const text = JSON.stringify(key);
    if (seen.has(text))
      found.push({ reason: 'FieldValueDuplicate', field: `${path}[${i}]`, message: `Duplicate value: ${text}` });
    seen.add(text);
  }
  return found;
}

function objectViolations(value: Json, schema: Schema, path: string): StatusCause[] {
  const found: StatusCause[] = [];
  const at = (field: string): string => (path === '' ? field : `${path}.${field}`);
  for (const field of schema.required ?? []) {
    if (value[field] === undefined)
      found.push({ reason: 'FieldValueRequired', field: at(field), message: 'Required value' });
  }
  const size = Object.keys(value).length;
  if (schema.minProperties !== undefined && size < schema.minProperties)
    found.push(bad(path, size, `${inBody(path)} should have at least ${schema.minProperties} properties`));
  if (schema.maxProperties !== undefined && size > schema.maxProperties)
    found.push({
      reason: 'FieldValueTooMany',
      field: path,
      message: `Too many: ${size}: must have at most ${schema.maxProperties} items`,
    });
  for (const [field, inner] of Object.entries(value)) {
    const known = fieldSchema(schema, field);
    if (known !== undefined) found.push(...validate(inner, known, at(field)));
  }
  return found;
}
