import type { Config } from '../config/config.ts';
import type { EndpointManager } from '../endpoint/manager.ts';
import type { IdentityRegistry } from '../identity/registry.ts';
import type { Ipcache } from '../ipcache/ipcache.ts';
import { addressEquals, type Address } from '../model/address.ts';
import type { Clock } from '../model/clock.ts';
import type { ClusterNode } from '../model/node.ts';
import { ApiServers } from '../nodes/api-servers.ts';
import { NodeTable } from '../nodes/node-table.ts';
import { RemoteEndpoints } from '../nodes/remote-endpoints.ts';
import { RemoteNodes } from '../nodes/remote-nodes.ts';
import { ClusterFeed } from './cluster-feed.ts';
import type { Announcers } from './announcers.ts';
import type { IdentityKeeper } from './identity-keeper.ts';
import type { HostEndpoint } from './host-endpoint.ts';
import type { NodeAddresses } from './node-addresses.ts';
import type { NodeKernel } from './node-kernel.ts';

export interface ClusterParts {
  readonly config: Config;
  readonly clock: Clock;
  readonly ipcache: Ipcache;
  readonly identities: IdentityRegistry;
  readonly kernel: Pick<NodeKernel, 'nodes'>;
  readonly manager: Pick<EndpointManager, 'settlePolicies' | 'announcePorts'>;
  readonly nodeAddresses: NodeAddresses;
  /** Absent where the numbers of identities are this node's own. */
  readonly keeper?: IdentityKeeper;
  readonly host: Pick<HostEndpoint, 'setLabels'>;
  /** Absent where nobody is told of this node. */
  readonly announcer?: Announcers;
  readonly onError: (message: string, error: unknown) => void;
}

/** The cluster beyond this node: the other nodes, their endpoints and identities. */
export class Cluster {
  readonly nodes: NodeTable;
  readonly remoteNodes: RemoteNodes;
  readonly endpoints: RemoteEndpoints;
  readonly feed: ClusterFeed;

  constructor(parts: ClusterParts) {
    const { config, ipcache, identities, kernel, manager, nodeAddresses } = parts;
    const tunnelFamily = config.routing.mode === 'native' ? undefined : config.routing.underlay;
    const nodes = new NodeTable(config.nodeName);
    this.nodes = nodes;
    this.remoteNodes = new RemoteNodes({ ...parts, nodes, tunnelFamily, target: kernel.nodes });
    this.endpoints = new RemoteEndpoints({
      ...{ nodes, ipcache, tunnelFamily },
      source: config.kvstore === undefined ? 'custom-resource' : 'kvstore',
      isOwnAddress: (address) =>
        isAmong(address, nodeAddresses.addresses) || isAddressOf(address, nodes.get(nodes.self)),
      settlePolicies: () => manager.settlePolicies(),
      setNamedPorts: (owner, endpoints) => manager.announcePorts(owner, endpoints),
    });
    this.feed = new ClusterFeed({
      ...{ nodes, endpoints: this.endpoints, identities, apiServers: new ApiServers(ipcache) },
      ...(parts.keeper !== undefined && { keeper: parts.keeper }),
      setOwnLabels: (labels) => parts.host.setLabels(labels),
      ...(parts.announcer !== undefined && { announcer: parts.announcer }),
    });
  }

  /** Everything that existed at the start is known, and endpoints are under their policies: the kernel follows from here on. */
  async begin(): Promise<void> {
    await Promise.all([this.remoteNodes.begin(), this.endpoints.begin()]);
  }

  stop(): void {
    this.remoteNodes.stop();
    this.endpoints.stop();
  }
}

function isAmong(address: Address, addresses: readonly Address[]): boolean {
  return addresses.some((other) => addressEquals(address, other));
}

function isAddressOf(address: Address, node: ClusterNode | undefined): boolean {
  return node?.addresses.some((own) => addressEquals(address, own.address)) === true;
}
