import type { RuleOrigin } from '../rule.ts';
import { isObject } from './decode.ts';
import type { Reading } from './reading.ts';

/** Decodes what a rule's origin needs of `metadata`; the rest of it is the API server's. */
export function originOf(
  object: Readonly<Record<string, unknown>>,
  kind: RuleOrigin['kind'],
  namespaced: boolean,
  reading: Reading,
): Omit<RuleOrigin, 'path'> {
  const metadata = isObject(object['metadata']) ? object['metadata'] : {};
  const text = (field: string): string => {
    const value = metadata[field];
    if (typeof value === 'string') return value;
    if (value !== undefined && value !== null) {
      reading.issue('must be a string', { under: ['metadata', field], value, remedy: 'write a string' });
    }
    return '';
  };
  const name = text('name');
  if (name === '')
    reading.issue('the object has no name', { under: ['metadata', 'name'], remedy: 'set metadata.name' });
  const namespace = text('namespace');
  return { kind, namespace: namespaced ? (namespace === '' ? 'default' : namespace) : '', name, uid: text('uid') };
}
