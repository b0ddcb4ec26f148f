/** What this node tells the cluster through a key-value store: itself, and who is at the addresses of its endpoints. */
import type { Endpoint } from '../endpoint/endpoint.ts';
import type { PodDirectory } from '../endpoint/pod-directory.ts';
import { addressesOf } from '../ipam/ipam.ts';
import { IPS, nodesOf } from '../kvstore/layout.ts';
import type { LeasedKeys } from '../kvstore/leased-keys.ts';
import { encodeIp, encodeNode } from '../kvstore/records.ts';
import { formatAddress, type Cidr } from '../model/address.ts';
import type { OwnNode } from './own-node.ts';

export interface KvstoreAnnouncerOptions {
  readonly keys: Pick<LeasedKeys, 'set' | 'delete' | 'begin'>;
  readonly own: OwnNode;
  readonly clusterName: string;
  readonly pods: PodDirectory;
  readonly podCidrs: readonly Cidr[];
}

export class KvstoreAnnouncer {
  readonly #options: KvstoreAnnouncerOptions;
  /** Whose each address is. */
  readonly #endpoints = new Map<string, Endpoint>();
  #begun = false;

  constructor(options: KvstoreAnnouncerOptions) {
    this.#options = options;
  }

  /** Everything that existed at the start is known: says all, and takes back what an earlier run said of who is gone. */
  begin(): void {
    this.#begun = true;
    this.nodeChanged();
    this.#options.keys.begin();
  }

  /** What is known of this node has changed. */
  nodeChanged(): void {
    if (!this.#begun) return;
    const { keys, own, clusterName, podCidrs } = this.#options;
    const node = {
      ...{ name: own.name, cluster: clusterName, addresses: own.addresses(), podCidrs, ingress: [] },
      health: addressesOf(own.health()),
      labels: own.object?.node.labels ?? new Map<string, string>(),
    };
    keys.set(`${nodesOf(clusterName)}${own.name}`, encodeNode(node));
    // Endpoints say where they are.
    for (const endpoint of new Set(this.#endpoints.values())) this.#tell(endpoint);
  }

  /** An endpoint is enforced as it is now. */
  setEndpoint(endpoint: Endpoint): void {
    for (const address of endpoint.addresses) this.#endpoints.set(formatAddress(address), endpoint);
    if (this.#begun) this.#tell(endpoint);
  }

  /** An endpoint is going away. */
  removeEndpoint(endpoint: Endpoint): void {
    for (const address of endpoint.addresses) {
      const text = formatAddress(address);
      // It may have gone to another.
      if (this.#endpoints.get(text) !== endpoint) continue;
      this.#endpoints.delete(text);
      this.#options.keys.delete(IPS + text);
    }
  }

  /** Something that endpoints say of their pods may have changed. */
  podChanged(namespace: string, name: string): void {
    if (!this.#begun) return;
    for (const endpoint of new Set(this.#endpoints.values())) {
      if (endpoint.podName === `${namespace}/${name}`) this.#tell(endpoint);
    }
  }

  #tell(endpoint: Endpoint): void {
    const { keys, own, pods } = this.#options;
    const { identity, addresses, attachment } = endpoint;
    if (identity === undefined) return;
    const { namespace, podName: name, podUid } = attachment;
    const namedPorts = pods.pod(namespace, name, podUid)?.namedPorts ?? [];
    for (const address of addresses) {
      const record = { address, identity: identity.id, nodeAddress: own.address(), namespace, name, namedPorts };
      keys.set(IPS + formatAddress(address), encodeIp(record));
    }
  }
}
