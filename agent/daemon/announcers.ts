/** All who are told of this node and its endpoints. */
import type { Endpoint } from '../endpoint/endpoint.ts';
import type { EndpointAnnouncer } from '../endpoint/environment.ts';
import type { Node } from '../k8s/node.ts';
import type { Address } from '../model/address.ts';
import type { Announcer } from './announcer.ts';
import type { KvstoreAnnouncer } from './kvstore-announcer.ts';
import type { OwnNode } from './own-node.ts';
import type { SlicedEndpoint } from './own-slices.ts';

export class Announcers implements EndpointAnnouncer {
  readonly #own: OwnNode;
  /** Absent where there is no API server. */
  readonly #objects: Announcer | undefined;
  /** Absent where there is no key-value store. */
  readonly #keys: KvstoreAnnouncer | undefined;

  constructor(own: OwnNode, objects: Announcer | undefined, keys: KvstoreAnnouncer | undefined) {
    this.#own = own;
    this.#objects = objects;
    this.#keys = keys;
  }

  /** Everything that existed at the start is known: says all. */
  begin(): void {
    this.#objects?.begin();
    this.#keys?.begin();
  }

  async close(): Promise<void> {
    await this.#objects?.close();
  }

  /** The Node object of this node. */
  setNodeObject(uid: string, node: Node): void {
    this.#own.setObject(uid, node);
    this.nodeChanged();
  }

  /** This node has something else to say of itself. */
  nodeChanged(): void {
    this.#objects?.nodeChanged();
    this.#keys?.nodeChanged();
  }

  /** Somebody has deleted this node's CiliumNode. */
  nodeLost(): void {
    this.#objects?.nodeLost();
  }

  /** Not the health endpoint: of that the node tells. */
  setEndpoint(endpoint: Endpoint): void {
    if (endpoint.isHealth) return;
    this.#objects?.setEndpoint(endpoint);
    this.#keys?.setEndpoint(endpoint);
  }

  removeEndpoint(endpoint: Endpoint): void {
    this.#objects?.removeEndpoint(endpoint);
    this.#keys?.removeEndpoint(endpoint);
  }

  /** Something that endpoints say of their pods may have changed. */
  podChanged(namespace: string, name: string): void {
    this.#objects?.podChanged(namespace, name);
    this.#keys?.podChanged(namespace, name);
  }

  /** A CiliumEndpoint was seen at the API server. */
  observe(namespace: string, name: string, uid: string | undefined, nodeAddress: Address | undefined): void {
    this.#objects?.observe(namespace, name, uid, nodeAddress);
  }

  /** A CiliumEndpointSlice was seen at the API server. */
  observeSlice(slice: string, endpoints: readonly SlicedEndpoint[]): void {
    this.#objects?.observeSlice(slice, endpoints);
  }
}
