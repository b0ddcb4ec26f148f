/** Names and labels that Kubernetes takes. */
import { isObject } from '../object.ts';
import type { ResourceType } from '../resource-type.ts';
import type { StatusCause } from '../status.ts';

const LABEL = '[a-z0-9]([-a-z0-9]*[a-z0-9])?';
const DNS_LABEL = new RegExp(`^${LABEL}$`);
const DNS_1035 = /^[a-z]([-a-z0-9]*[a-z0-9])?$/;
const SUBDOMAIN = new RegExp(`^${LABEL}(\\.${LABEL})*$`);
const QUALIFIED = /^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)$/;

/** Kinds whose names are one DNS label, which a service's name must begin with a letter. */
const LABEL_NAMES: ReadonlySet<string> = new Set(['/namespaces']);
const LABEL_1035_NAMES: ReadonlySet<string> = new Set(['/services']);

export function nameViolations(type: ResourceType, name: string): StatusCause[] {
  const id = `${type.group}/${type.plural}`;
  if (type.group === 'rbac.authorization.k8s.io')
    return /[/%]/.test(name) || name === '.' || name === '..'
      ? [wrong('metadata.name', name, `may not contain '/' or '%'`)]
      : [];
  const limit = LABEL_NAMES.has(id) || LABEL_1035_NAMES.has(id) ? 63 : 253;
  const form = LABEL_1035_NAMES.has(id) ? DNS_1035 : LABEL_NAMES.has(id) ? DNS_LABEL : SUBDOMAIN;
  if (name.length > limit) return [wrong('metadata.name', name, `must be no more than ${limit} characters`)];
  if (form.test(name)) return [];
  return [
    wrong(
      'metadata.name',
      name,
      limit === 63
        ? `a lowercase RFC ${form === DNS_1035 ? 1035 : 1123} label must consist of lower case alphanumeric characters or '-', and must start ${form === DNS_1035 ? 'with an alphabetic character' : 'and end with an alphanumeric character'}`
        : `a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character`,
    ),
  ];
}

export function labelViolations(labels: unknown, field: string): StatusCause[] {
  if (!isObject(labels)) return [];
  return Object.entries(labels).flatMap(([key, value]) => [
    ...keyViolations(key, field),
    ...(typeof value === 'string' && value.length <= 63 && (value === '' || QUALIFIED.test(value))
      ? []
      : [
          wrong(
            field,
            value,
            `a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', at most 63 of them, and must start and end with an alphanumeric character`,
          ),
        ]),
  ]);
}

export function annotationViolations(annotations: unknown): StatusCause[] {
  if (!isObject(annotations)) return [];
  const size = Object.entries(annotations).reduce((sum, [key, value]) => sum + key.length + String(value).length, 0);
  const tooLong =
    size > 262_144
      ? [
          {
            reason: 'FieldValueTooLong',
            field: 'metadata.annotations',
            message: 'Too long: may not be more than 262144 bytes',
          },
        ]
      : [];
  return [...Object.keys(annotations).flatMap((key) => keyViolations(key, 'metadata.annotations')), ...tooLong];
}

function keyViolations(key: string, field: string): StatusCause[] {
  const parts = key.split('/');
  const name = parts.at(-1)!;
  const prefix = parts.length === 2 ? parts[0]! : undefined;
  const good =
    parts.length <= 2 &&
    name.length <= 63 &&
    QUALIFIED.test(name) &&
    (prefix === undefined || SUBDOMAIN.test(prefix.toLowerCase()));
  return good
    ? []
    : [
        wrong(
          field,
          key,
          "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
        ),
      ];
}

export function wrong(field: string, value: unknown, message: string): StatusCause {
  return { reason: 'FieldValueInvalid', field, message: `Invalid value: ${JSON.stringify(value)}: ${message}` };
}

export const required = (field: string, message = ''): StatusCause => ({
  reason: 'FieldValueRequired',
  field,
  message: message === '' ? 'Required value' : `Required value: ${message}`,
});
