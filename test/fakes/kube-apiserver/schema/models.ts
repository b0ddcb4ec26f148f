/**
 * Schemas of the built-in kinds, read from the models of the Kubernetes client: types from its tables, descriptions from
 * its declarations. Merge keys, which it does not carry, are in `merge-keys.ts`.
 */
import * as client from '@kubernetes/client-node';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { mergeKeysOf } from './merge-keys.ts';
import { resolveModelsWith, type Schema } from './schema.ts';

interface Attribute {
  readonly name: string;
  readonly baseName: string;
  readonly type: string;
  readonly format: string;
}

interface Model {
  getAttributeTypeMap(): readonly Attribute[];
}

const models = client as unknown as Readonly<Record<string, Partial<Model> | undefined>>;
const folder = new URL('./gen/models/', import.meta.resolve('@kubernetes/client-node'));
const schemas = new Map<string, Schema>();

/** Fields that hold quantities, which JSON may also write as numbers. */
const QUANTITIES = new Set([
  'limits',
  'requests',
  'capacity',
  'allocatable',
  'hard',
  'used',
  'overhead',
  'max',
  'min',
  'default',
  'defaultRequest',
]);

export const hasModel = (name: string): boolean => models[name]?.getAttributeTypeMap !== undefined;

/** Schema of a model such as `V1Pod`; others are referred to by name. */
export function modelSchema(name: string): Schema {
  let schema = schemas.get(name);
  if (schema === undefined) schemas.set(name, (schema = readModel(name)));
  return schema;
}

resolveModelsWith(modelSchema);

function readModel(name: string): Schema {
  if (name === 'V1MicroTime') return { type: 'string', format: 'date-time' };
  const attributes = models[name]?.getAttributeTypeMap?.();
  if (attributes === undefined) throw new Error(`the client has no model ${name}`);
  const texts = readDescriptions(name);
  const properties = Object.fromEntries(
    attributes.map((attribute) => [
      attribute.baseName,
      describe({ ...typeSchema(attribute), ...mergeKeysOf(name, attribute.baseName) }, texts.get(attribute.name)),
    ]),
  );
  return { type: 'object', ...describe({}, texts.get('')), properties };
}

const describe = (schema: Schema, description: string | undefined): Schema =>
  description === undefined ? schema : { ...schema, description };

function typeSchema({ baseName, type, format }: Attribute): Schema {
  if (QUANTITIES.has(baseName) && type === '{ [key: string]: string; }')
    return { type: 'object', additionalProperties: { 'x-kubernetes-int-or-string': true } };
  return typeOf(type, format);
}

function typeOf(type: string, format: string): Schema {
  const list = /^Array<(.*)>$/.exec(type);
  if (list !== null) return { type: 'array', items: typeOf(list[1]!, format) };
  const map = /^\{ \[key: string\]: (.*); \}$/.exec(type);
  if (map !== null) return { type: 'object', additionalProperties: typeOf(map[1]!, format) };
  switch (type) {
    case 'string':
      return format === '' ? { type: 'string' } : { type: 'string', format };
    case 'number':
      return format.startsWith('int') ? { type: 'integer', format } : { type: 'number' };
    case 'boolean':
      return { type: 'boolean' };
    case 'Date':
      return { type: 'string', format: 'date-time' };
    case 'IntOrString':
      return { 'x-kubernetes-int-or-string': true };
    case 'any':
      return { 'x-kubernetes-preserve-unknown-fields': true };
    default:
      return { $ref: type };
  }
}

/** Doc comments by attribute; that of the model itself under the empty name. */
function readDescriptions(name: string): Map<string, string> {
  const text = readFileSync(fileURLToPath(new URL(`${name}.d.ts`, folder)), 'utf8');
  const found = new Map<string, string>();
  for (const [, comment, field] of text.matchAll(
    /\/\*\*\n\s*\* (.*)\n\s*\*\/\n\s*(?:'([^']+)'\??:|export declare class)/g,
  ))
    found.set(field ?? '', comment!.replaceAll(/\\(['"])/g, '$1'));
  return found;
}
