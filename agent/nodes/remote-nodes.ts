import type { Ipcache, IpcacheRecord, IpcacheRemoval } from '../ipcache/ipcache.ts';
import { formatCidr, fullPrefix, type Address } from '../model/address.ts';
import type { Clock } from '../model/clock.ts';
import type { NodeTarget, RemoteNode } from '../model/datapath.ts';
import { errorText } from '../model/errors.ts';
import { RESERVED_IDENTITY, type IdentityId } from '../model/identity.ts';
import { nodeAddress, type ClusterNode } from '../model/node.ts';
import type { NodeChange, NodeSource } from './node-table.ts';

/** When the kernel refused: how long until it is told again, in milliseconds. */
const RETRY_MS = 5_000;

export interface RemoteNodesOptions {
  readonly nodes: NodeSource;
  readonly ipcache: Ipcache;
  readonly target: NodeTarget;
  /** Family of the addresses between which packets are tunnelled; undefined where they are routed. */
  readonly tunnelFamily: 4 | 6 | undefined;
  readonly clock: Clock;
  readonly onError: (message: string, error: unknown) => void;
}

/** Lets ipcache and kernel know the other nodes: who they are, and the way to their pods. */
export class RemoteNodes {
  readonly #options: RemoteNodesOptions;
  /** What the ipcache was told of each node. */
  readonly #told = new Map<string, readonly IpcacheRecord[]>();
  #begun = false;
  #pending = false;
  #work: Promise<void> = Promise.resolve();
  #stop: (() => void) | undefined;
  #failure = '';
  #cancel: (() => void) | undefined;

  constructor(options: RemoteNodesOptions) {
    this.#options = options;
  }

  /** The nodes other than this one, as they are now. */
  get remote(): readonly ClusterNode[] {
    const { nodes } = this.#options;
    return nodes.nodes().filter(({ name }) => name !== nodes.self);
  }

  /** From here on the kernel follows. Resolves when it knows the nodes that are known now, or has refused. */
  begin(): Promise<void> {
    this.#begun = true;
    this.#stop = this.#options.nodes.subscribe((changes) => this.#changed(changes));
    this.#schedule();
    return this.#work;
  }

  stop(): void {
    this.#stop?.();
    this.#cancel?.();
    this.#begun = false;
  }

  /** The address to which packets for a node's pods are sent; undefined where they are routed, or the node is unknown. */
  tunnelTo(node: ClusterNode): Address | undefined {
    const { tunnelFamily } = this.#options;
    return tunnelFamily && nodeAddress(node, tunnelFamily);
  }

  #changed(changes: readonly NodeChange[]): void {
    const { nodes, ipcache } = this.#options;
    const upserts: IpcacheRecord[] = [];
    const removals: IpcacheRemoval[] = [];
    for (const { name, after } of changes) {
      if (name === nodes.self) continue;
      const records = after === undefined ? [] : this.#records(after);
      const kept = new Set(records.map(({ prefix }) => formatCidr(prefix)));
      upserts.push(...records);
      removals.push(...(this.#told.get(name) ?? []).filter(({ prefix }) => !kept.has(formatCidr(prefix))));
      if (after === undefined) this.#told.delete(name);
      else this.#told.set(name, records);
    }
    ipcache.apply(upserts, removals);
    this.#schedule();
  }

  /** All that the ipcache should know because of a node. */
  #records(node: ClusterNode): readonly IpcacheRecord[] {
    const tunnel = this.tunnelTo(node);
    const say = (address: Address, identity: IdentityId, behindTunnel: boolean): IpcacheRecord => ({
      prefix: fullPrefix(address),
      identity,
      source: 'custom-resource',
      owner: `node:${node.name}`,
      ...(behindTunnel && tunnel && { tunnelEndpoint: tunnel }),
    });
    return [
      // The router's address lies in the pod network: it is reached as the node's pods are.
      ...node.addresses.map(({ type, address }) =>
        say(address, RESERVED_IDENTITY['remote-node'], type === 'CiliumInternalIP'),
      ),
      ...node.health.map((address) => say(address, RESERVED_IDENTITY.health, true)),
      ...node.ingress.map((address) => say(address, RESERVED_IDENTITY.ingress, true)),
    ];
  }

  /** Changes of one turn are written together, and one after the other. */
  #schedule(): void {
    if (!this.#begun || this.#pending) return;
    this.#pending = true;
    this.#work = this.#work.then(async () => {
      this.#pending = false;
      try {
        await this.#options.target.set(this.remote.map((node) => this.#remoteNode(node)));
        this.#failure = '';
      } catch (error) {
        // Said once: a node of another network may never come within reach.
        if (this.#failure !== errorText(error)) this.#options.onError('the way to other nodes is not complete', error);
        this.#failure = errorText(error);
        this.#cancel?.();
        this.#cancel = this.#options.clock.after(RETRY_MS, () => this.#schedule());
      }
    });
  }

  #remoteNode(node: ClusterNode): RemoteNode {
    const tunnel = this.tunnelTo(node);
    return {
      name: node.name,
      addresses: node.addresses.filter(({ type }) => type !== 'CiliumInternalIP').map(({ address }) => address),
      podCidrs: node.podCidrs,
      ...(tunnel && { tunnelEndpoint: tunnel }),
      gateways: ([4, 6] as const).flatMap((family) => nodeAddress(node, family) ?? []),
    };
  }
}
