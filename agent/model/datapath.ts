/**
 * The seam between endpoint lifecycle and the kernel. `agent/endpoint` and `agent/ipcache` speak these interfaces;
 * `agent/datapath` implements them on a real kernel. Every method is idempotent: updating to what is already there and
 * deleting what is absent succeed (architecture.md §4.6).
 */
import type { Address, Cidr } from './address.ts';
import type { BandwidthLimits } from './bandwidth.ts';
import type { EndpointId, IfIndex } from './endpoint.ts';
import type { IdentityId } from './identity.ts';
import type { Mac } from './mac.ts';
import type { MapStateChanges, MapStateView } from './mapstate.ts';

/** What the pod's interface should be. */
export interface LinkRequest {
  /** Path of the pod's network namespace, as the runtime names it in CNI_NETNS. */
  readonly netns: string;
  /** Name inside the pod, such as `eth0`. A stale link of that name is replaced. */
  readonly containerIfName: string;
  /** Name on the host, such as `wr1a2b3c4d5e`. A stale link of that name is replaced. */
  readonly hostIfName: string;
  readonly addresses: readonly Address[];
  /** The router's addresses, which become the pod's default gateways; one per family in `addresses`. */
  readonly gateways: readonly Address[];
  readonly mtu: number;
}

/** A veth pair that stands: one end in the pod, the other on the host. */
export interface EndpointLink {
  readonly hostIfName: string;
  readonly hostIfIndex: IfIndex;
  readonly hostMac: Mac;
  readonly containerIfName: string;
  readonly containerIfIndex: IfIndex;
  readonly containerMac: Mac;
  /** Inode of the pod's network namespace, to recognise it again. */
  readonly netnsInode: number;
}

/** What CHECK and endpoint health want to know of a link. */
export interface LinkStatus {
  readonly hostUp: boolean;
  /** Undefined when the namespace or the link inside it is gone. */
  readonly container?: { readonly up: boolean; readonly addresses: readonly Address[]; readonly mac: Mac };
  /** True when every program of the endpoint is attached. */
  readonly attached: boolean;
}

/** All that is embedded in an endpoint's programs through `.rodata.config`. */
export interface EndpointProgram {
  readonly id: EndpointId;
  readonly identity: IdentityId;
  readonly link: EndpointLink;
  readonly ipv4?: Address;
  readonly ipv6?: Address;
  /** Deliver and report what policy would have dropped. */
  readonly auditMode: boolean;
}

/** The kernel as an endpoint sees it. */
export interface EndpointDatapath {
  /** Creates the veth pair; on failure nothing of it is left. */
  createLink(request: LinkRequest): Promise<EndpointLink>;
  deleteLink(hostIfName: string): Promise<void>;
  linkStatus(link: EndpointLink, netns: string): Promise<LinkStatus>;
  /**
   * Brings the endpoint's policy map to `policy`, loads its programs with `program` embedded, attaches or atomically
   * replaces them, then opens delivery to it. When this resolves, the pod is enforced. On failure whatever was in force
   * before stays in force, and for a new endpoint nothing is left behind.
   */
  install(program: EndpointProgram, policy: MapStateView): Promise<void>;
  /** Applies an increment; existing connections are judged by it from the next packet on. */
  updatePolicy(id: EndpointId, changes: MapStateChanges): Promise<void>;
  /** Brings the map to exactly `policy`. */
  replacePolicy(id: EndpointId, policy: MapStateView): Promise<void>;
  /** Limits what the endpoint may send and be sent, from the next packet on; also before it is installed. */
  setBandwidth(id: EndpointId, limits: BandwidthLimits): Promise<void>;
  /** The limits that the kernel has for it. */
  bandwidth(id: EndpointId): BandwidthLimits;
  /** Takes away link, programs, pins, limits, delivery, policy map and conntrack entries of an endpoint; absent parts are fine. */
  remove(id: EndpointId, addresses: readonly Address[]): Promise<void>;
  /** After a restart: drops the pins, map entries and links of endpoints that are not in `known`. */
  prune(known: ReadonlySet<EndpointId>): Promise<void>;
}

/** What the kernel's ipcache holds for a prefix. */
export interface IpcacheEntry {
  readonly prefix: Cidr;
  readonly identity: IdentityId;
  /** Address of the node to tunnel to; absent for local and directly routed prefixes. */
  readonly tunnelEndpoint?: Address;
}

/** The kernel's ipcache map. */
export interface IpcacheTarget {
  update(entries: readonly IpcacheEntry[]): Promise<void>;
  delete(prefixes: readonly Cidr[]): Promise<void>;
  /** Removes every prefix that is not in `desired`. */
  prune(desired: readonly IpcacheEntry[]): Promise<void>;
}

/** How packets reach the pods of other nodes. */
export interface Routing {
  /** Inside packets between the nodes, or by the network's own routes. */
  readonly mode: 'tunnel' | 'native';
  /** UDP port of the tunnel (VXLAN). */
  readonly tunnelPort: number;
  /** Family of the addresses between which packets are tunnelled. */
  readonly underlay: 4 | 6;
  /** Where packets are routed: whether this node makes the routes to nodes that share a network with it. */
  readonly autoDirectNodeRoutes: boolean;
  /** Where packets are routed: whether the host's stack forwards what pods send to other nodes, netfilter included. */
  readonly throughHost: boolean;
}

/** Another node, as the kernel needs to know it. */
export interface RemoteNode {
  readonly name: string;
  /** Addresses from which it may send through the tunnel. */
  readonly addresses: readonly Address[];
  readonly podCidrs: readonly Cidr[];
  /** Where packets for its pods are sent through the tunnel; absent where they are routed, or there is no such address. */
  readonly tunnelEndpoint?: Address;
  /** Its address on the network, one a family: the way to its pods where packets are routed. */
  readonly gateways: readonly Address[];
}

/** The other nodes, in the kernel. */
export interface NodeTarget {
  /**
   * Brings the kernel to exactly these nodes. One that cannot be reached does not keep the others from being written.
   *
   * @throws WeirError of the first that failed
   */
  set(nodes: readonly RemoteNode[]): Promise<void>;
}
