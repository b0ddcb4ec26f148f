import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Ajv, type AnySchema } from 'ajv';
import * as schemas from './schemas.ts';

test('schemas are schemas: the server compiles them at need, and does not ask', () => {
  const all = Object.entries(schemas).filter(([, schema]) => typeof schema === 'object');
  assert.ok(all.length > 10);
  for (const [name, schema] of all) assert.doesNotThrow(() => new Ajv().compile(schema as AnySchema), name);
});
