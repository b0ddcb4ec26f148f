import type { Address } from '../model/address.ts';
import { NODE_ADDRESS_TYPES, type ClusterNode, type NodeAddress } from '../model/node.ts';
import type { Resource } from '../model/resource.ts';
import { Fields } from './fields.ts';

/** @throws WeirError RESOURCE_INVALID naming the field. */
export function decodeCiliumNode(resource: Resource): ClusterNode {
  const spec = Fields.of(resource, 'CiliumNode').object('spec');
  return {
    name: resource.name,
    addresses: spec.objects('addresses').flatMap(nodeAddress),
    podCidrs: spec.object('ipam').cidrs('podCIDRs'),
    health: familyPair(spec.object('health')),
    ingress: familyPair(spec.object('ingress')),
  };
}

/** Types that Weir has no use for, such as `Hostname`, hold no address or none that packets carry. */
function nodeAddress(item: Fields): NodeAddress[] {
  const text = item.string('type');
  const type = NODE_ADDRESS_TYPES.find((known) => known === text);
  return type === undefined ? [] : [{ type, address: item.address('ip') }];
}

function familyPair(fields: Fields): Address[] {
  return (['ipv4', 'ipv6'] as const).flatMap((name) => fields.optionalAddress(name) ?? []);
}
