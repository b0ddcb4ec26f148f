import type { Cidr } from '../model/address.ts';
import type { Resource } from '../model/resource.ts';
import { Fields } from './fields.ts';

/** A CiliumCIDRGroup: prefixes that policies name together, by the group's name or by its labels. */
export interface CidrGroup {
  readonly name: string;
  readonly labels: ReadonlyMap<string, string>;
  readonly cidrs: readonly Cidr[];
}

/** @throws WeirError RESOURCE_INVALID naming the field. */
export function decodeCidrGroup(resource: Resource): CidrGroup {
  const group = Fields.of(resource, 'CiliumCIDRGroup');
  const spec = group.object('spec');
  // An empty list is a group of nothing; a list that was forgotten is a mistake.
  if (!spec.has('externalCIDRs')) spec.fail('externalCIDRs', 'is missing');
  return {
    name: resource.name,
    labels: group.object('metadata').stringMap('labels'),
    cidrs: spec.cidrs('externalCIDRs'),
  };
}
