import type { BPFMap } from '../api/models.ts';
import type { SocketLbSettings } from '../datapath/socket-cgroup.ts';
import type { EventSubscription } from '../flow/event-broadcast.ts';
import type { LeftOutByType } from '../flow/event-losses.ts';
import type { Address, Cidr } from '../model/address.ts';
import type {
  EndpointDatapath,
  EndpointLink,
  IpcacheEntry,
  IpcacheTarget,
  NodeTarget,
  Routing,
} from '../model/datapath.ts';
import type { EndpointId } from '../model/endpoint.ts';
import type { LbTarget } from '../model/service.ts';
import type { ObjectType } from '../reconcile/target.ts';

/** Hears of the collections of expired connections. */
export interface CollectionWatcher {
  /**
   * A collection begins, at `at` milliseconds since the epoch. What this returns hears of each connection that lives on;
   * undefined when nobody wants to, which saves reading them.
   */
  begin(at: number): ((connection: LiveConnection) => void) | undefined;
  /** The collection that began at `at` has seen everything. One that failed does not end. */
  end(at: number): void;
}

/** The two ends of a connection, seen from an endpoint. */
export interface LiveConnection {
  readonly local: Address;
  readonly remote: Address;
}

/** The kernel as the whole agent sees it; `open-kernel.ts` makes the real one, tests make others. */
export interface NodeKernel extends AsyncDisposable {
  readonly endpoints: EndpointDatapath;
  readonly ipcache: IpcacheTarget;
  readonly ipcacheType: ObjectType<IpcacheEntry, Cidr>;
  readonly services: LbTarget;
  /** The node's own device, as the link of the endpoint that the node is. */
  readonly hostLink: EndpointLink;
  readonly nodes: NodeTarget;
  /** Interfaces to the network. */
  readonly devices: readonly string[];
  /** MTU for pods that want none of their own, in bytes. */
  readonly mtu: number;
  /** The cgroup whose sockets get services translated; undefined: packets do. */
  readonly socketCgroup: string | undefined;
  readonly masquerade: MasqueradeSettings;
  /** Forgets connections that go on under addresses which are not among these, the node's own. */
  keepTranslations(addresses: readonly Address[]): Promise<void>;
  /** Entries that each endpoint's policy map holds. */
  readonly policyMapMax: number;
  /** Endpoints all of whose traffic is dropped because their policy does not fit. */
  lockdowns(): readonly EndpointId[];
  /** Names of the maps that can be shown. */
  maps(): readonly { readonly name: string; readonly path: string; readonly size: number }[];
  /** @throws WeirError MAP_NOT_FOUND */
  dump(name: string): Promise<BPFMap>;
  /** Forgets all entries of a map that may be emptied. @throws WeirError MAP_NOT_FOUND, REQUEST_INVALID */
  flush(name: string): Promise<void>;
  /** Tells `watcher` of collections of expired connections from now on. There is one watcher. */
  watchCollections(watcher: CollectionWatcher): void;
  /** Events from now on, all or of some types; those of which more than `capacity` wait are lost to this subscriber. */
  events(capacity: number, types?: ReadonlySet<string>): EventSubscription;
  /** Events that nobody got to see, since the agent's start. */
  leftOut(): LeftOutByType;
}

/** What is reported of packets. */
export interface EventSettings {
  readonly drops: boolean;
  readonly verdicts: boolean;
  readonly traces: boolean;
  /** Which packets are traced. */
  readonly aggregation: 'none' | 'low' | 'medium' | 'maximum';
  /** After which a connection is traced again, with aggregation. */
  readonly intervalMs: number;
  /** TCP flags that are worth a trace when they are new to a connection, as in its header's byte. */
  readonly flags: number;
  /** Events of a type that a CPU may report a second; 0: as many as there are. */
  readonly rate: number;
  /** How many it may report at once. */
  readonly burst: number;
}

/** Whose packets leave the node under its own address. */
export interface MasqueradeSettings {
  readonly ipv4: boolean;
  readonly ipv6: boolean;
  /** Where pods' packets go under the pods' own addresses. */
  readonly except: readonly Cidr[];
  /** Entries of the map of translations, two a connection. */
  readonly mapMax: number;
}

/** How services are translated packet by packet. */
export interface LbSettings {
  /** Places of Maglev's tables; undefined: clients from outside are spread at random. */
  readonly maglevTableSize: number | undefined;
  /** Whether clients from outside may use cluster addresses. */
  readonly externalClusterIp: boolean;
  /** Whether who asks for a service without backends hears of it. */
  readonly rejectWithoutBackend: boolean;
}

/** What the kernel needs to know before anything else. */
export interface KernelSettings {
  readonly bpfRoot: string;
  readonly bpfObjects: string;
  /** Empty: to be found. */
  readonly devices: readonly string[];
  /** Undefined: to be found. */
  readonly mtu: number | undefined;
  /** Sets of endpoints' programs to keep loaded ahead. */
  readonly warmPrograms: number;
  /** Between collections of connections that have ended, in milliseconds. */
  readonly collectionMs: number;
  /** Entries of each endpoint's policy map. */
  readonly policyMapMax: number;
  /** Where services are translated. */
  readonly socketLb: SocketLbSettings;
  /** How services are translated packet by packet. */
  readonly loadBalancing: LbSettings;
  readonly masquerade: MasqueradeSettings;
  /** The router's addresses: the host's towards pods, and the pods' gateways. */
  readonly routers: readonly Address[];
  readonly podCidrs: readonly Cidr[];
  readonly routing: Routing;
  /** Whether the node itself is to be an endpoint. */
  readonly hostFirewall: boolean;
  readonly events: EventSettings;
  /** Whether pods hear of it when policy denies what they send. */
  readonly denyResponse: boolean;
}
