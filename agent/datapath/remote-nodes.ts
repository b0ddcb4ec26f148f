import type { NodeTarget, RemoteNode } from '../model/datapath.ts';
import type { NonMasqueradeMap } from './maps/non-masquerade.ts';
import type { RemoteNodeMaps } from './maps/remote-nodes.ts';
import type { NodeRoutes } from './node-routes.ts';

/** The other nodes in the kernel: maps of the tunnel, the host's routes, and who is not of the world. */
export class KernelRemoteNodes implements NodeTarget {
  readonly #maps: RemoteNodeMaps;
  readonly #routes: NodeRoutes;
  readonly #nonMasquerade: Pick<NonMasqueradeMap, 'set'>;

  constructor(maps: RemoteNodeMaps, routes: NodeRoutes, nonMasquerade: Pick<NonMasqueradeMap, 'set'>) {
    this.#maps = maps;
    this.#routes = routes;
    this.#nonMasquerade = nonMasquerade;
  }

  /** @throws WeirError BPF_MAP_FULL, BPF_MAP_FAILED, NETLINK_FAILED; the first failure, after all else was done */
  async set(nodes: readonly RemoteNode[]): Promise<void> {
    const outcomes = await Promise.allSettled([
      this.#maps.set(nodes),
      this.#routes.set(nodes),
      this.#nonMasquerade.set(nodes),
    ]);
    const failed = outcomes.find((outcome) => outcome.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }
}
