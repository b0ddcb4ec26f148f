import type { Reading } from './reading.ts';

const COMMON = ['apiVersion', 'kind', 'metadata', 'status'];

/** Reports fields that no object of the kind has. */
export function topLevel(object: Readonly<Record<string, unknown>>, fields: readonly string[], reading: Reading): void {
  const known = [...COMMON, ...fields];
  for (const name in object) {
    if (!known.includes(name)) reading.unknownField(name, object[name], known);
  }
}
