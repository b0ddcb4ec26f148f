/** CiliumCIDRGroup: prefixes outside of the cluster under one name. */
import { AGE, kindSchema, type Definition } from './definition.ts';
import { list, object, text } from './schema.ts';

const schema = kindSchema(
  'Prefixes that policies refer to by the name or the labels of the group.',
  {
    spec: object(
      'The group.',
      { externalCIDRs: list('Prefixes of the group.', text('A prefix.', { format: 'cidr' }), { minItems: 0 }) },
      { required: ['externalCIDRs'] },
    ),
  },
  { required: ['metadata', 'spec'] },
);

export const CIDR_GROUP_DEFINITION: Definition = {
  kind: 'CiliumCIDRGroup',
  plural: 'ciliumcidrgroups',
  shortNames: ['ccg'],
  categories: ['cilium'],
  namespaced: false,
  versions: [
    { name: 'v2', schema, columns: [AGE], status: false },
    { name: 'v2alpha1', schema, columns: [AGE], status: false, deprecated: true },
  ],
};
