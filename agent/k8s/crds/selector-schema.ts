/** Label selectors: those of Kubernetes, whose keys may name the source of the label. */
import { choice, list, map, object, text, type Schema } from './schema.ts';

const LABEL_VALUE = '^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$';

export function labelSelector(description: string): Schema {
  return object(description, {
    matchLabels: map(
      'Labels that must be there with these values; a key may be source:key, such as k8s:app or reserved:host.',
      text('Value of the label.', { maxLength: 63, pattern: LABEL_VALUE }),
    ),
    matchExpressions: list(
      'Requirements, all of which must hold.',
      object(
        'A requirement.',
        {
          key: text('Key of the label.'),
          operator: choice('How the label relates to the values.', ['In', 'NotIn', 'Exists', 'DoesNotExist']),
          values: list('Values for In and NotIn; none for the others.', text('A value.'), {
            'x-kubernetes-list-type': 'atomic',
          }),
        },
        { required: ['key', 'operator'] },
      ),
      { 'x-kubernetes-list-type': 'atomic' },
    ),
  });
}

/** An RFC 1123 subdomain, as names of objects are. */
export const objectName = (description: string): Schema =>
  text(description, { maxLength: 253, pattern: '^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$' });
