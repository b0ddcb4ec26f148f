import type { Ipcache, IpcacheRecord, IpcacheRemoval } from '../ipcache/ipcache.ts';
import type { IpcacheSource } from '../ipcache/source.ts';
import { formatAddress, formatCidr, fullPrefix, type Address } from '../model/address.ts';
import type { IdentityId } from '../model/identity.ts';
import { nodeAddress } from '../model/node.ts';
import type { NamedPort } from '../policy/contract.ts';
import type { NodeChange, NodeSource } from './node-table.ts';

/** An endpoint as some agent announces it. */
export interface AnnouncedEndpoint {
  readonly namespace: string;
  /** Of the pod. */
  readonly name: string;
  readonly identity: IdentityId;
  readonly addresses: readonly Address[];
  /** Of the node it runs on; undefined while that is not known. */
  readonly nodeAddress: Address | undefined;
  readonly namedPorts: readonly NamedPort[];
}

export interface RemoteEndpointsOptions {
  readonly nodes: NodeSource;
  readonly ipcache: Ipcache;
  /** Through whom endpoints are announced. */
  readonly source: Extract<IpcacheSource, 'kvstore' | 'custom-resource'>;
  /** Family of the addresses between which packets are tunnelled; undefined where they are routed. */
  readonly tunnelFamily: 4 | 6 | undefined;
  /** Whether an address is this node's own: endpoints there are known at first hand. */
  readonly isOwnAddress: (address: Address) => boolean;
  /** Resolves when every endpoint's policy map knows the identities that exist now. */
  readonly settlePolicies: () => Promise<void>;
  /** The ports by name of an owner's endpoints: what it said before is void. */
  readonly setNamedPorts: (
    owner: string,
    endpoints: readonly Pick<AnnouncedEndpoint, 'identity' | 'namedPorts'>[],
  ) => void;
}

/**
 * Endpoints of other nodes, in the ipcache. A packet must not meet an identity that a policy map does not know yet, so the
 * maps follow first and the ipcache after them.
 */
export class RemoteEndpoints {
  readonly #options: RemoteEndpointsOptions;
  /** What each object announces. */
  readonly #announced = new Map<string, readonly AnnouncedEndpoint[]>();
  /** Owners with endpoints on a node, by an address of the node. */
  readonly #byNode = new Map<string, Set<string>>();
  /** Names of the nodes, by each of their addresses. */
  readonly #nodeOf = new Map<string, string>();
  /** What the ipcache was told. */
  readonly #told = new Map<string, readonly IpcacheRecord[]>();
  readonly #dirty = new Set<string>();
  #begun = false;
  #pending = false;
  #work: Promise<void> = Promise.resolve();
  #stop: (() => void) | undefined;

  constructor(options: RemoteEndpointsOptions) {
    this.#options = options;
  }

  /** Endpoints of other nodes that are announced now. */
  get size(): number {
    let count = 0;
    for (const records of this.#told.values()) count += records.length;
    return count;
  }

  /** @param owner the object that announces them; what it said before is void */
  set(owner: string, endpoints: readonly AnnouncedEndpoint[]): void {
    for (const { nodeAddress } of this.#announced.get(owner) ?? []) this.#unlink(nodeAddress, owner);
    if (endpoints.length === 0) this.#announced.delete(owner);
    else this.#announced.set(owner, endpoints);
    for (const { nodeAddress } of endpoints) this.#link(nodeAddress, owner);
    this.#options.setNamedPorts(owner, this.#remote(endpoints));
    this.#touch(owner);
  }

  /** Everything that existed at the start is known, policies too. Resolves when the ipcache knows it. */
  begin(): Promise<void> {
    this.#begun = true;
    this.#stop = this.#options.nodes.subscribe((changes) => this.#nodesChanged(changes));
    this.#schedule();
    return this.#work;
  }

  stop(): void {
    this.#stop?.();
    this.#begun = false;
  }

  #nodesChanged(changes: readonly NodeChange[]): void {
    for (const { name, before, after } of changes) {
      for (const { address } of before?.addresses ?? []) this.#nodeOf.delete(formatAddress(address));
      for (const { address } of after?.addresses ?? []) this.#nodeOf.set(formatAddress(address), name);
      for (const { address } of [...(before?.addresses ?? []), ...(after?.addresses ?? [])]) {
        for (const owner of this.#byNode.get(formatAddress(address)) ?? []) this.#touch(owner);
      }
    }
  }

  #touch(owner: string): void {
    this.#dirty.add(owner);
    this.#schedule();
  }

  /** Changes of one turn go together, and one after the other. */
  #schedule(): void {
    if (!this.#begun || this.#pending || this.#dirty.size === 0) return;
    this.#pending = true;
    this.#work = this.#work.then(async () => {
      await this.#options.settlePolicies();
      this.#pending = false;
      this.#tell();
    });
  }

  #tell(): void {
    const upserts: IpcacheRecord[] = [];
    const removals: IpcacheRemoval[] = [];
    for (const owner of this.#dirty) {
      const records = this.#records(owner);
      const kept = new Set(records.map(({ prefix }) => formatCidr(prefix)));
      upserts.push(...records);
      removals.push(...(this.#told.get(owner) ?? []).filter(({ prefix }) => !kept.has(formatCidr(prefix))));
      if (records.length === 0) this.#told.delete(owner);
      else this.#told.set(owner, records);
    }
    this.#dirty.clear();
    this.#options.ipcache.apply(upserts, removals);
  }

  #records(owner: string): readonly IpcacheRecord[] {
    return this.#remote(this.#announced.get(owner) ?? []).flatMap((endpoint) => {
      const tunnelEndpoint = this.#tunnelTo(endpoint.nodeAddress);
      return endpoint.addresses.map((address) => ({
        prefix: fullPrefix(address),
        identity: endpoint.identity,
        source: this.#options.source,
        owner,
        namespace: endpoint.namespace,
        podName: endpoint.name,
        ...(tunnelEndpoint && { tunnelEndpoint }),
      }));
    });
  }

  #remote(endpoints: readonly AnnouncedEndpoint[]): readonly AnnouncedEndpoint[] {
    return endpoints.filter(({ nodeAddress }) => nodeAddress === undefined || !this.#options.isOwnAddress(nodeAddress));
  }

  /** The node may announce another address to be reached at than the one that its endpoints name. */
  #tunnelTo(address: Address | undefined): Address | undefined {
    const { tunnelFamily, nodes } = this.#options;
    if (tunnelFamily === undefined || address === undefined) return undefined;
    const name = this.#nodeOf.get(formatAddress(address));
    const node = name === undefined ? undefined : nodes.get(name);
    if (node !== undefined) return nodeAddress(node, tunnelFamily);
    return address.family === tunnelFamily ? address : undefined;
  }

  #link(address: Address | undefined, owner: string): void {
    if (address === undefined) return;
    const key = formatAddress(address);
    const owners = this.#byNode.get(key) ?? new Set();
    this.#byNode.set(key, owners.add(owner));
  }

  #unlink(address: Address | undefined, owner: string): void {
    if (address === undefined) return;
    const key = formatAddress(address);
    const owners = this.#byNode.get(key);
    owners?.delete(owner);
    if (owners?.size === 0) this.#byNode.delete(key);
  }
}
