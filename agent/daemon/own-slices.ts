/** What CiliumEndpointSlices say of the endpoints of this node. They name no uids, and are later than the endpoints. */
import type { ObjectKey } from '../k8s/apiserver/object-target.ts';
import { addressEquals, type Address } from '../model/address.ts';

/** An endpoint as a slice names it. */
export interface SlicedEndpoint {
  readonly namespace: string;
  readonly name: string;
  readonly nodeAddress: Address | undefined;
}

export class OwnSlices {
  /** Endpoints of this node in each slice that has any, by the name of the pod. */
  readonly #slices = new Map<string, ReadonlyMap<string, ObjectKey>>();

  /**
   * @param endpoints all that the slice names now; none when it is gone
   * @param addresses of this node
   * @returns endpoints that it named, and that no slice names any more
   */
  set(slice: string, endpoints: readonly SlicedEndpoint[], addresses: readonly Address[]): readonly ObjectKey[] {
    const here = (node: Address | undefined): boolean =>
      node !== undefined && addresses.some((address) => addressEquals(address, node));
    const before = this.#slices.get(slice);
    const now = new Map(
      endpoints
        .filter(({ nodeAddress }) => here(nodeAddress))
        .map(({ namespace, name }) => [`${namespace}/${name}`, { kind: 'CiliumEndpoint' as const, namespace, name }]),
    );
    if (now.size === 0) this.#slices.delete(slice);
    else this.#slices.set(slice, now);
    return [...(before ?? [])].filter(([podName]) => !this.#names(podName)).map(([, key]) => key);
  }

  /** All that slices take for this node's. */
  *keys(): Iterable<ObjectKey> {
    for (const keys of this.#slices.values()) yield* keys.values();
  }

  #names(podName: string): boolean {
    return [...this.#slices.values()].some((keys) => keys.has(podName));
  }
}
