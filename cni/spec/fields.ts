/** Typed fields out of decoded JSON. A field of the wrong type is an error that names its path and its value. */
import { CNI_CODE, CniError } from './error.ts';

/** A decoded JSON object; `path` is its place in the configuration, empty for the configuration itself. */
export interface Fields {
  readonly path: string;
  readonly values: Readonly<Record<string, unknown>>;
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** @throws CniError invalidConfig when the value is no object. */
export function fieldsOf(value: unknown, path: string): Fields {
  if (!isObject(value)) throw wrongField(path, value, 'an object');
  return { path, values: value };
}

/** Undefined when absent or null, as the Go runtimes write what is empty. */
export function stringField(fields: Fields, key: string): string | undefined {
  const value = fields.values[key] ?? undefined;
  if (value === undefined || typeof value === 'string') return value;
  throw wrongField(pathOf(fields, key), value, 'a text');
}

/** An integer in `min`..`max`; undefined when absent. */
export function integerField(fields: Fields, key: string, min: number, max: number): number | undefined {
  const value = fields.values[key] ?? undefined;
  if (value === undefined) return undefined;
  if (Number.isInteger(value) && (value as number) >= min && (value as number) <= max) return value as number;
  throw wrongField(pathOf(fields, key), value, `a whole number from ${min} to ${max}`);
}

export function objectField(fields: Fields, key: string): Fields | undefined {
  const value = fields.values[key] ?? undefined;
  return value === undefined ? undefined : fieldsOf(value, pathOf(fields, key));
}

export function listField(fields: Fields, key: string): readonly unknown[] | undefined {
  const value = fields.values[key] ?? undefined;
  if (value === undefined || Array.isArray(value)) return value;
  throw wrongField(pathOf(fields, key), value, 'a list');
}

export function stringListField(fields: Fields, key: string): readonly string[] | undefined {
  const list = listField(fields, key);
  const wrong = list?.findIndex((item) => typeof item !== 'string') ?? -1;
  if (wrong >= 0) throw wrongField(`${pathOf(fields, key)}[${wrong}]`, list?.[wrong], 'a text');
  return list as readonly string[] | undefined;
}

export function objectListField(fields: Fields, key: string): readonly Fields[] | undefined {
  return listField(fields, key)?.map((item, i) => fieldsOf(item, `${pathOf(fields, key)}[${i}]`));
}

export function pathOf(fields: Fields, key: string): string {
  return fields.path === '' ? key : `${fields.path}.${key}`;
}

export function wrongField(path: string, value: unknown, expected: string): CniError {
  return new CniError(
    CNI_CODE.invalidConfig,
    `invalid network configuration: ${path} is ${show(value)}`,
    `${path} must be ${expected}: correct it in the CNI configuration file`,
  );
}

/** The start of a value's JSON. */
export function show(value: unknown): string {
  const text = value === undefined ? 'absent' : JSON.stringify(value);
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}
