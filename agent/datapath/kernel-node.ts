import type { Address, Cidr } from '../model/address.ts';
import type { EndpointLink, EndpointProgram, Routing } from '../model/datapath.ts';
import { endpointId, HOST_ENDPOINT_ID } from '../model/endpoint.ts';
import { RESERVED_IDENTITY } from '../model/identity.ts';
import type { BpfMap } from '../kernel/bpf-map.ts';
import { KernelDatapath } from './datapath.ts';
import { Devices } from './devices.ts';
import { Loader, type ProgramSettings } from './loader.ts';
import { MapCatalogue } from './maps/catalogue.ts';
import { writeNodeConfig } from './maps/nodeconfig.ts';
import { NonMasqueradeMap } from './maps/non-masquerade.ts';
import { NodeMaps, type MapSizes } from './node-maps.ts';
import { RemoteNodeMaps } from './maps/remote-nodes.ts';
import { NodeRoutes } from './node-routes.ts';
import { setUpNode, tearDownNode, type NodeNetwork } from './node-network.ts';
import { KernelRemoteNodes } from './remote-nodes.ts';
import { openTunnel, TUNNEL_DEVICE } from './tunnel-device.ts';
import { Pins, type NodeHook } from './pins.ts';

export interface KernelNodeOptions {
  /** Folder on a BPF file system, which is mounted when absent. */
  readonly bpfRoot: string;
  /** Folder of the objects of bpf/. */
  readonly objects: string;
  /** The pods' gateways: the host's addresses towards them. */
  readonly routers: readonly Address[];
  readonly podCidrs: readonly Cidr[];
  /** Interfaces to the network; empty: those of the default routes. */
  readonly devices: readonly string[];
  readonly mtu?: number;
  readonly routing: Routing;
  /** Whether the node itself is to be an endpoint, which {@link KernelNode.hostLink} then is installed as. */
  readonly hostFirewall?: boolean;
  /** The cgroup v2 whose sockets get services translated; absent: packets do. */
  readonly cgroup?: string;
  readonly settings?: ProgramSettings;
  /** Prefixes to which pods send under their own addresses, whatever the settings say of all others. */
  readonly nonMasquerade?: readonly Cidr[];
  readonly sizes?: MapSizes;
  /** How many sets of endpoints' programs to load ahead; about 0.6 MB each, most of it the kernel's. */
  readonly warmPrograms?: number;
  /** What goes wrong in the background. */
  readonly onError?: (error: unknown) => void;
  /** Nanoseconds of CLOCK_MONOTONIC now. */
  readonly monotonic: () => bigint;
}

/** The kernel of one node, ready for endpoints: maps, the node's own devices and programs, and the endpoints' datapath. */
export class KernelNode implements Disposable {
  readonly network: NodeNetwork;
  readonly maps: NodeMaps;
  readonly endpoints: KernelDatapath;
  readonly catalogue: MapCatalogue;
  readonly nodes: KernelRemoteNodes;
  readonly #stack: DisposableStack;

  private constructor(parts: Omit<KernelNode, typeof Symbol.dispose | 'hostLink'>, stack: DisposableStack) {
    this.network = parts.network;
    this.maps = parts.maps;
    this.endpoints = parts.endpoints;
    this.catalogue = parts.catalogue;
    this.nodes = parts.nodes;
    this.#stack = stack;
  }

  /**
   * Idempotent: what an earlier agent left in place is taken over, and goes on enforcing meanwhile.
   *
   * @throws WeirError CONFIG_INVALID, BPF_LOAD_FAILED, BPF_MAP_FAILED, NETLINK_FAILED, SYSCALL_FAILED
   */
  static async open(options: KernelNodeOptions): Promise<KernelNode> {
    using undo = new DisposableStack();
    const pins = new Pins(options.bpfRoot);
    const maps = undo.use(NodeMaps.open(pins, options.sizes));
    const nonMasquerade = new NonMasqueradeMap(maps.get('weir_non_masquerade'), options.nonMasquerade ?? []);
    nonMasquerade.open();
    const loader = await Loader.create(options.objects, pins, maps, options.settings);
    const network = setUpNode(options);
    loader.settings = { ...loader.settings, ...routingSettings(network, options.routing) };
    describeNode(maps, network, options.routers);
    await loader.attachDevice('weir_host', network.host.index, ['from_host']);
    await loader.detachDevices(
      (device) =>
        !['weir_host', TUNNEL_DEVICE].includes(device) && !network.devices.some(({ name }) => name === device),
    );
    for (const { name, index } of network.devices) {
      // Under a policy until it is known which: a node that falls from it for a moment would be open.
      if (options.hostFirewall && (await loader.holdsDevice(name, index, DEVICE_HOOKS))) continue;
      await loader.attachDevice(name, index, DEVICE_HOOKS);
    }
    if (!options.hostFirewall) maps.call.delete(HOST_ENDPOINT_ID);
    if (options.cgroup === undefined) await loader.detachSockets();
    else await loader.attachSockets(options.cgroup);
    if (network.tunnel !== undefined) {
      await loader.attachTunnel(TUNNEL_DEVICE, network.tunnel);
      openTunnel(network.tunnel);
    } else await loader.detachDevices((device) => device === TUNNEL_DEVICE);
    const devices = undo.use(new Devices());
    const { warmPrograms, onError } = options;
    const policyMapSize = options.sizes?.weir_policy;
    const attachHost = async (program: EndpointProgram, policyMap: BpfMap): Promise<void> => {
      for (const { name, index } of network.devices) {
        await loader.attachDevice(name, index, DEVICE_HOOKS, { program, policyMap });
      }
      using object = await loader.loadHostPolicy({ program, policyMap });
      maps.call.set(HOST_ENDPOINT_ID, object.program('host_policy').fd);
    };
    const endpoints = undo.use(
      new KernelDatapath({
        ...{ pins, maps, loader, devices, routers: options.routers },
        ...(options.hostFirewall && { attachHost }),
        ...(policyMapSize !== undefined && { policyMapSize }),
        ...(warmPrograms !== undefined && { warmPrograms }),
        ...(onError && { onError }),
      }),
    );
    const catalogue = new MapCatalogue(pins, options.monotonic);
    const { routing, routers } = options;
    const nodes = new KernelRemoteNodes(
      new RemoteNodeMaps({ tunnel: maps.get('weir_tunnel'), nodes: maps.get('weir_nodes') }),
      new NodeRoutes({ routing, routers, hostIfIndex: network.host.index, mtu: network.mtu }),
      nonMasquerade,
    );
    return new KernelNode({ network, maps, endpoints, catalogue, nodes }, undo.move());
  }

  /** The node's own device as the link of the endpoint that the node is. */
  get hostLink(): EndpointLink {
    const { index, mac } = this.network.host;
    return {
      ...{ hostIfName: 'weir_host', hostIfIndex: index, hostMac: mac },
      ...{ containerIfName: 'weir_host', containerIfIndex: index, containerMac: mac, netnsInode: 0 },
    };
  }

  /** Gives up descriptors; everything in the kernel goes on enforcing. */
  [Symbol.dispose](): void {
    this.#stack.dispose();
  }
}

/**
 * Takes away all that agents put into this node: endpoints' links, programs, maps, pins, the node's devices and routes.
 * What is already gone is fine.
 *
 * @throws KernelError NETLINK_FAILED, SYSCALL_FAILED
 */
export async function uninstall(bpfRoot: string): Promise<void> {
  const pins = new Pins(bpfRoot);
  using devices = new Devices();
  // Links first: programs go with their devices, so that nothing passes that nobody judges.
  await Promise.all(devices.endpointLinks().map(({ name }) => devices.deleteLink(name)));
  await tearDownNode();
  await pins.removeAll();
}

function routingSettings({ tunnel, mtu }: NodeNetwork, routing: Routing): ProgramSettings {
  const { underlay, tunnelPort, throughHost } = routing;
  if (tunnel === undefined) return { tunnel: false, directToNodes: throughHost ? 0 : 1 };
  return { tunnel: true, tunnelIpv6: underlay === 6, tunnelIfindex: tunnel, tunnelMtu: mtu, tunnelPort };
}

const DEVICE_HOOKS: readonly NodeHook[] = ['from_netdev', 'to_netdev'];

function describeNode(maps: NodeMaps, { host }: NodeNetwork, routers: readonly Address[]): void {
  const routerIpv4 = routers.find(({ family }) => family === 4);
  const routerIpv6 = routers.find(({ family }) => family === 6);
  writeNodeConfig(maps.get('weir_node_config'), {
    ...(routerIpv4 && { routerIpv4 }),
    ...(routerIpv6 && { routerIpv6 }),
    hostIfIndex: host.index,
    hostMac: host.mac,
  });
  maps.lxc.open(routers, {
    id: endpointId(0),
    identity: RESERVED_IDENTITY.host,
    ifIndex: host.index,
    mac: host.mac,
    hostMac: host.mac,
    host: true,
  });
}
