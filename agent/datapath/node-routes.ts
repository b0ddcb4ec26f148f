import { formatAddress, formatCidr, type Address, type Cidr } from '../model/address.ts';
import type { RemoteNode, Routing } from '../model/datapath.ts';
import type { IfIndex } from '../model/endpoint.ts';
import { Rtnetlink } from '../kernel/rtnetlink.ts';
import { deleteRoute, setRoute, type Route } from '../kernel/rtnl-route.ts';

/** One below the refusal of unused pod addresses: recognised by it, and hiding nobody else's route. */
export const NODE_ROUTE_METRIC = 0xfffd;

export interface NodeRoutesOptions {
  readonly routing: Routing;
  /** `weir_host`, on whose way out packets get into the tunnel. */
  readonly hostIfIndex: IfIndex;
  /** This node's addresses towards pods. */
  readonly routers: readonly Address[];
  /** Of pods, in bytes: what fits into the tunnel. */
  readonly mtu: number;
}

/** The host's routes to the pods of other nodes. */
export class NodeRoutes {
  readonly #options: NodeRoutesOptions;

  constructor(options: NodeRoutesOptions) {
    this.#options = options;
  }

  /**
   * Brings the routes to those of `nodes`, on a worker thread. One that the kernel refuses does not keep it from the others.
   *
   * @throws NetlinkError NETLINK_FAILED: the first failure, such as of a node that shares no network with this one
   */
  async set(nodes: readonly RemoteNode[]): Promise<void> {
    using links = Rtnetlink.open();
    const wanted = new Map(nodes.flatMap((node) => this.#routes(node)).map((route) => [routeKey(route), route]));
    const standing = ([4, 6] as const).flatMap((family) => links.routes(family)).filter(isNodeRoute);
    const stands = new Set(standing.map(routeKey));
    const destinations = new Set([...wanted.values()].map(({ destination }) => formatCidr(destination)));
    // What is replaced is not deleted: there is a route at every moment.
    const gone = standing.filter(({ destination }) => !destinations.has(formatCidr(destination)));
    const failures: unknown[] = [];
    for (const request of [
      ...[...wanted].filter(([key]) => !stands.has(key)).map(([, route]) => setRoute(route)),
      ...gone.map(({ destination, metric }) => deleteRoute({ destination, metric: metric! })),
    ]) {
      await links.applyAsync(request).catch((error: unknown) => failures.push(error));
    }
    if (failures.length > 0) throw failures[0];
  }

  #routes(node: RemoteNode): Route[] {
    return node.podCidrs.flatMap((destination) => {
      const { routing } = this.#options;
      if (routing.mode === 'tunnel') return node.tunnelEndpoint === undefined ? [] : [this.#intoTunnel(destination)];
      const gateway = node.gateways.find(({ family }) => family === destination.address.family);
      if (!routing.autoDirectNodeRoutes || gateway === undefined) return [];
      return [{ destination, gateway, metric: NODE_ROUTE_METRIC }];
    });
  }

  #intoTunnel(destination: Cidr): Route {
    const { hostIfIndex, routers, mtu } = this.#options;
    const source = routers.find(({ family }) => family === destination.address.family);
    return { destination, index: hostIfIndex, metric: NODE_ROUTE_METRIC, mtu, ...(source && { source }) };
  }
}

/** Whether a route is one that {@link NodeRoutes} made. */
export function isNodeRoute({ metric }: Route): boolean {
  return metric === NODE_ROUTE_METRIC;
}

/** Equal for routes that are the same in what {@link NodeRoutes} decides; the kernel adds the device to a gateway. */
function routeKey({ destination, gateway, index, source, mtu }: Route): string {
  const via = gateway === undefined ? `dev ${index ?? 0}` : `via ${formatAddress(gateway)}`;
  return `${formatCidr(destination)} ${via} src ${source === undefined ? '-' : formatAddress(source)} mtu ${mtu ?? 0}`;
}
