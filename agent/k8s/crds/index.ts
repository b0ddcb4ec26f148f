/**
 * The one source of Weir's custom resources: the operator registers these definitions, `install/` has them as YAML, and
 * the documentation is made of them.
 */
import { CIDR_GROUP_DEFINITION } from './cidr-group-definition.ts';
import { customResourceDefinition, type CustomResourceDefinition } from './definition.ts';
import { ENDPOINT_DEFINITIONS } from './endpoint-definitions.ts';
import { IDENTITY_DEFINITION } from './identity-definition.ts';
import { NODE_DEFINITION } from './node-definition.ts';
import { POLICY_DEFINITIONS } from './policy-definitions.ts';

export { CILIUM_GROUP, SCHEMA_VERSION, SCHEMA_VERSION_LABEL, type CustomResourceDefinition } from './definition.ts';

/** All of them, in the order of their names. */
export const CUSTOM_RESOURCE_DEFINITIONS: readonly CustomResourceDefinition[] = [
  CIDR_GROUP_DEFINITION,
  ...POLICY_DEFINITIONS,
  ...ENDPOINT_DEFINITIONS,
  IDENTITY_DEFINITION,
  NODE_DEFINITION,
]
  .map(customResourceDefinition)
  .sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
