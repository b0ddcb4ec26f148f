import type { NodeTarget, RemoteNode } from '../model/datapath.ts';
import type { RemoteNodeMaps } from './maps/remote-nodes.ts';
import type { NodeRoutes } from './node-routes.ts';

/** The other nodes in the kernel: maps of the tunnel, and the host's routes. */
export class KernelRemoteNodes implements NodeTarget {
  readonly #maps: RemoteNodeMaps;
  readonly #routes: NodeRoutes;

  constructor(maps: RemoteNodeMaps, routes: NodeRoutes) {
    this.#maps = maps;
    this.#routes = routes;
  }

  /** @throws WeirError BPF_MAP_FULL, BPF_MAP_FAILED, NETLINK_FAILED; the first failure, after all else was done */
  async set(nodes: readonly RemoteNode[]): Promise<void> {
    const outcomes = await Promise.allSettled([this.#maps.set(nodes), this.#routes.set(nodes)]);
    const failed = outcomes.find((outcome) => outcome.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }
}
