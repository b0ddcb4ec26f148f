import type { Address, Cidr } from './address.ts';

export const NODE_ADDRESS_TYPES = ['InternalIP', 'ExternalIP', 'CiliumInternalIP'] as const;

/** An address of a node and what it is for. */
export interface NodeAddress {
  /** `CiliumInternalIP` is the router's, inside the pod network. */
  readonly type: (typeof NODE_ADDRESS_TYPES)[number];
  readonly address: Address;
}

/** A node of the cluster, as it announces itself. */
export interface ClusterNode {
  readonly name: string;
  readonly addresses: readonly NodeAddress[];
  readonly podCidrs: readonly Cidr[];
  /** Where its health endpoint answers. */
  readonly health: readonly Address[];
  /** What its ingress proxy sends from. */
  readonly ingress: readonly Address[];
}

/** The address by which other nodes reach a node: the internal one of the family, else the external one. */
export function nodeAddress({ addresses }: Pick<ClusterNode, 'addresses'>, family: 4 | 6): Address | undefined {
  const ofFamily = addresses.filter(({ address }) => address.family === family);
  const found =
    ofFamily.find(({ type }) => type === 'InternalIP') ?? ofFamily.find(({ type }) => type === 'ExternalIP');
  return found?.address;
}
