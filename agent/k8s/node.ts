import { parseAddress, parseCidr, type Cidr } from '../model/address.ts';
import type { ClusterNode, NodeAddress } from '../model/node.ts';
import type { Resource } from '../model/resource.ts';
import { Fields } from './fields.ts';

/** What the agent needs to know of a Node. */
export interface Node extends ClusterNode {
  readonly labels: ReadonlyMap<string, string>;
  readonly annotations: ReadonlyMap<string, string>;
}

/** Annotations by which a node tells the others its router's addresses. */
const ROUTER_ANNOTATIONS = ['network.cilium.io/ipv4-cilium-host', 'network.cilium.io/ipv6-cilium-host'] as const;

/** @throws WeirError RESOURCE_INVALID naming the field. */
export function decodeNode(resource: Resource): Node {
  const node = Fields.of(resource, 'Node');
  const metadata = node.object('metadata');
  const annotations = metadata.stringMap('annotations');
  const router = ROUTER_ANNOTATIONS.flatMap((key): NodeAddress[] => {
    const text = annotations.get(key);
    if (text === undefined || text === '') return [];
    const field = `annotations[${JSON.stringify(key)}]`;
    return [{ type: 'CiliumInternalIP', address: metadata.parsed(field, text, parseAddress) }];
  });
  return {
    name: resource.name,
    labels: metadata.stringMap('labels'),
    annotations,
    podCidrs: podCidrs(node.object('spec')),
    health: [],
    ingress: [],
    addresses: [...node.object('status').objects('addresses').flatMap(nodeAddress), ...router],
  };
}

function podCidrs(spec: Fields): Cidr[] {
  const listed = spec.cidrs('podCIDRs');
  if (listed.length > 0) return listed;
  const single = spec.optionalString('podCIDR');
  return single === undefined || single === '' ? [] : [spec.parsed('podCIDR', single, parseCidr)];
}

/** Host names and DNS names are no addresses that packets carry. */
function nodeAddress(item: Fields): NodeAddress[] {
  const type = item.string('type');
  if (type !== 'InternalIP' && type !== 'ExternalIP') return [];
  return [{ type, address: item.address('address') }];
}
