import type * as models from '../../api/models.ts';
import type { Config } from '../../config/config.ts';
import { formatAddress, formatCidr, type Address, type Cidr } from '../../model/address.ts';
import { nodeAddress, type ClusterNode } from '../../model/node.ts';
import type { NodeTable } from '../../nodes/node-table.ts';

/** The nodes of the cluster as the API shows them, by name; this one too when nobody announces it. */
export function nodeElements(
  nodes: Pick<NodeTable, 'nodes' | 'self' | 'originOf'>,
  config: Pick<Config, 'clusterName' | 'podCidrs'>,
  ownAddresses: readonly Address[],
): readonly models.NodeElement[] {
  const known = nodes.nodes();
  const own: ClusterNode = {
    name: nodes.self,
    addresses: ownAddresses.map((address) => ({ type: 'InternalIP', address })),
    podCidrs: Object.values(config.podCidrs),
    ...{ health: [], ingress: [] },
  };
  const all = known.some(({ name }) => name === nodes.self) ? known : [own, ...known];
  return all
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .map((node) => element(node, config.clusterName, nodes.originOf(node.name) ?? 'local'));
}

function element(node: ClusterNode, cluster: string, source: string): models.NodeElement {
  const primary = ([4, 6] as const).map((family) => nodeAddress(node, family));
  const others = node.addresses.filter(({ address }) => !primary.includes(address));
  const [health4, health6] = ([4, 6] as const).map((family) => node.health.find((each) => each.family === family));
  return {
    name: `${cluster}/${node.name}`,
    source,
    'primary-address': {
      ipv4: addressing(primary[0], prefixOf(node, 4)),
      ipv6: addressing(primary[1], prefixOf(node, 6)),
    },
    'secondary-addresses': others.map(({ type, address }) => ({ ip: formatAddress(address), 'address-type': type })),
    ...((health4 ?? health6) && {
      'health-endpoint-address': { ipv4: addressing(health4, undefined), ipv6: addressing(health6, undefined) },
    }),
  };
}

function prefixOf({ podCidrs }: ClusterNode, family: 4 | 6): Cidr | undefined {
  return podCidrs.find(({ address }) => address.family === family);
}

function addressing(address: Address | undefined, cidr: Cidr | undefined): models.NodeAddressingElement {
  return {
    enabled: address !== undefined,
    ...(address && { ip: formatAddress(address) }),
    ...(cidr && { 'alloc-range': formatCidr(cidr) }),
  };
}
