import type { RuleOrigin } from '../rule.ts';
import { isObject } from './decode.ts';
import type { Reading } from './reading.ts';

/** The annotation that makes a policy of any kind an audited one. */
export const AUDIT_ANNOTATION = 'policy.weir.io/audit';

const OWN_DOMAIN = AUDIT_ANNOTATION.replace(/[^/]*$/, '');

/** Whether the object asks to be audited, not enforced. A word that is misunderstood must not put it in force unawares. */
export function isAudited(object: Readonly<Record<string, unknown>>, reading: Reading): boolean {
  const { annotations } = isObject(object['metadata']) ? object['metadata'] : {};
  if (!isObject(annotations)) return false;
  const own = Object.entries(annotations).filter(([name]) => name.startsWith(OWN_DOMAIN));
  for (const [name, value] of own) {
    const under = ['metadata', 'annotations', name];
    if (name !== AUDIT_ANNOTATION) {
      const remedy = `the only annotation of this kind is ${AUDIT_ANNOTATION}`;
      reading.issue('unknown annotation', { under, value, remedy, nearest: AUDIT_ANNOTATION });
    } else if (value !== 'true' && value !== 'false') {
      reading.issue('must be the text true or false', { under, value, remedy: 'write "true" or "false", in quotes' });
    }
  }
  return annotations[AUDIT_ANNOTATION] === 'true';
}

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
