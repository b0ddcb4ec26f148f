/** CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy. */
import { AGE, kindSchema, type Definition, type PrinterColumn } from './definition.ts';
import { ruleSchema } from './rule-schema.ts';
import { atLeastOne, choice, list, map, object, text, type Schema } from './schema.ts';

const VALID: PrinterColumn = {
  name: 'Valid',
  type: 'string',
  jsonPath: ".status.conditions[?(@.type=='Valid')].status",
  description: 'Whether the policy is understood; see its status for why not',
};

const status = object('What became of the policy.', {
  conditions: list(
    'Conditions of the policy.',
    object(
      'A condition.',
      {
        type: text('Valid: whether the policy is understood.'),
        status: choice('Whether it holds.', ['True', 'False', 'Unknown']),
        lastTransitionTime: text('When it last changed.', { format: 'date-time' }),
        reason: text('One word for why.'),
        message: text('Sentence for why: object, field and remedy.'),
      },
      { required: ['type', 'status'] },
    ),
    { 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['type'] },
  ),
  derivativePolicies: map('Policies that were derived from this one.', {
    type: 'object',
    'x-kubernetes-preserve-unknown-fields': true,
  }),
});

function schema(description: string): Schema {
  const rules = ruleSchema('A rule: whom it is about, and what they may do.');
  return kindSchema(
    description,
    { spec: rules, specs: list('Further rules, as spec.', rules), status },
    { required: ['metadata'], ...atLeastOne('spec', 'specs') },
  );
}

export const POLICY_DEFINITIONS: readonly Definition[] = [
  {
    kind: 'CiliumNetworkPolicy',
    plural: 'ciliumnetworkpolicies',
    shortNames: ['cnp', 'ciliumnp'],
    categories: ['cilium', 'ciliumpolicy'],
    namespaced: true,
    versions: [
      { name: 'v2', schema: schema('Rules for the pods of one namespace.'), columns: [AGE, VALID], status: true },
    ],
  },
  {
    kind: 'CiliumClusterwideNetworkPolicy',
    plural: 'ciliumclusterwidenetworkpolicies',
    shortNames: ['ccnp'],
    categories: ['cilium', 'ciliumpolicy'],
    namespaced: false,
    versions: [
      {
        name: 'v2',
        schema: schema('Rules for the pods of all namespaces, or for nodes.'),
        columns: [AGE, VALID],
        status: true,
      },
    ],
  },
];
