/** CiliumIdentity: a number that stands for a set of labels, throughout the cluster. */
import { AGE, kindSchema, type Definition } from './definition.ts';
import { map } from './schema.ts';

const labels = map('Labels with their sources. They never change: other labels are another identity.', {
  type: 'string',
});

export const IDENTITY_DEFINITION: Definition = {
  kind: 'CiliumIdentity',
  plural: 'ciliumidentities',
  shortNames: ['ciliumid'],
  categories: ['cilium'],
  namespaced: false,
  versions: [
    {
      name: 'v2',
      schema: kindSchema(
        'A security identity. Its name is its number; the labels of the object are those of Kubernetes, for selecting it.',
        {
          'security-labels': {
            ...labels,
            'x-kubernetes-validations': [
              { rule: 'self == oldSelf', message: 'the labels of an identity never change' },
            ],
          },
          status: { type: 'object', description: 'No longer written.', 'x-kubernetes-preserve-unknown-fields': true },
        },
        { required: ['metadata', 'security-labels'] },
      ),
      columns: [
        {
          name: 'Namespace',
          type: 'string',
          jsonPath: '.metadata.labels.io\\.kubernetes\\.pod\\.namespace',
          description: 'Namespace of the pods',
        },
        AGE,
      ],
      status: true,
    },
  ],
};
