import type { Node } from '../k8s/node.ts';
import type { Addressing } from '../ipam/ipam.ts';
import { addressEquals, type Address } from '../model/address.ts';
import { nodeAddress, type NodeAddress } from '../model/node.ts';

export interface OwnNodeOptions {
  readonly name: string;
  /** Addresses of the node's router inside the pod network. */
  readonly routers: readonly Address[];
  /** Addresses of the node, the router's among them, as far as they can be seen here. */
  readonly detected: () => readonly Address[];
  /** Addresses of the node's health endpoint, while it has one. */
  readonly health: () => Addressing;
}

/** This node, as it is told to others. */
export class OwnNode {
  readonly name: string;
  readonly #options: OwnNodeOptions;
  #object: { readonly uid: string; readonly node: Node } | undefined;

  constructor(options: OwnNodeOptions) {
    this.name = options.name;
    this.#options = options;
  }

  /** The Node object, when there is one. */
  get object(): { readonly uid: string; readonly node: Node } | undefined {
    return this.#object;
  }

  setObject(uid: string, node: Node): void {
    this.#object = { uid, node };
  }

  /** What the Node object says goes before what can be seen here: an interface may be of no use to others. */
  addresses(): readonly NodeAddress[] {
    const { routers, detected } = this.#options;
    const isRouter = (address: Address): boolean => routers.some((router) => addressEquals(router, address));
    const named = (this.#object?.node.addresses ?? []).filter(({ type }) => type !== 'CiliumInternalIP');
    const seen = detected().filter((address) => !isRouter(address));
    return [
      ...(named.length > 0 ? named : seen.map((address) => ({ type: 'InternalIP' as const, address }))),
      ...routers.map((address) => ({ type: 'CiliumInternalIP' as const, address })),
    ];
  }

  /** Where its health endpoint answers. */
  health(): Addressing {
    return this.#options.health();
  }

  /** By which other nodes reach this one. */
  address(): Address | undefined {
    const addresses = this.addresses();
    return nodeAddress({ addresses }, 4) ?? nodeAddress({ addresses }, 6);
  }

  has(address: Address): boolean {
    return this.addresses().some((own) => addressEquals(own.address, address));
  }
}
