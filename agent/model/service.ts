/**
 * Services as the kernel gets to know them: `agent/loadbalancer` makes frontends and backends, `agent/datapath` writes them.
 */
import { formatAddress, type Address, type Cidr } from './address.ts';
import { protocolName, type Port } from './port.ts';

/** Identifies a frontend wherever the kernel cannot carry an address: 1 to 65535, 0 is none. */
export type FrontendId = number & { readonly __brand: 'FrontendId' };

/** Identifies a backend in the kernel: above 0. */
export type BackendId = number & { readonly __brand: 'BackendId' };

/** Why an address answers for a service, in the order of precedence between services. */
export const FRONTEND_KINDS = ['ClusterIP', 'LoadBalancer', 'ExternalIPs', 'NodePort', 'HostPort'] as const;
export type FrontendKind = (typeof FRONTEND_KINDS)[number];

/** Local: backends of this node only. */
export type TrafficPolicy = 'Cluster' | 'Local';

/**
 * What a backend is good for: `active` for anything; `terminating` for the connections that it has, and for new ones where
 * nothing else is left; `unready` for the connections that it has.
 */
export type BackendState = 'active' | 'terminating' | 'unready';

/** Where a connection may be addressed to, or come out. */
export interface Socket {
  readonly address: Address;
  readonly port: Port;
  /** IANA number. */
  readonly protocol: number;
}

/** A port of the node that a pod of it wants for one of its own (`hostPort`). */
export interface HostPort {
  readonly hostPort: Port;
  /** The node's address to answer at; undefined, or unspecified: every one, of that family. */
  readonly hostAddress: Address | undefined;
  readonly containerPort: Port;
  /** IANA number. */
  readonly protocol: number;
}

/** One address and port of a service, and who answers for it. */
export interface Frontend extends Socket {
  readonly id: FrontendId;
  readonly kind: FrontendKind;
  /** `namespace/name`; of a host port `namespace/pod/host-port/number`. */
  readonly service: string;
  readonly portName: string;
  /** As the Service says; `backends` and `externalBackends` are what they come to. */
  readonly internalTrafficPolicy: TrafficPolicy;
  readonly externalTrafficPolicy: TrafficPolicy;
  /** Chosen from for clients on this node. */
  readonly backends: readonly BackendId[];
  /** Chosen from for clients that come from outside. The same as `backends`, or this node's own. */
  readonly externalBackends: readonly BackendId[];
  /** Seconds for which a client keeps its backend; 0 without affinity. */
  readonly affinitySeconds: number;
  /** Who may come from outside; undefined is everybody, empty nobody. */
  readonly sourceRanges: readonly Cidr[] | undefined;
}

/** One place where a connection may come out, shared by all frontends that lead there. */
export interface Backend extends Socket {
  readonly id: BackendId;
  readonly state: BackendState;
  readonly node: string | undefined;
  readonly zone: string | undefined;
}

/** Equal for equal sockets, and only for them. Listings show it. */
export function socketKey({ address, port, protocol }: Socket): string {
  const text = formatAddress(address);
  return `${address.family === 4 ? text : `[${text}]`}:${port}/${protocolName(protocol)}`;
}

/**
 * What is to be done so that the kernel is as the services say, in the order in which it loses no packet: new backends,
 * frontends, frontends that are gone, backends that are gone.
 */
export interface LbChanges {
  readonly backends: { readonly update: readonly Backend[]; readonly delete: readonly Backend[] };
  readonly frontends: { readonly update: readonly Frontend[]; readonly delete: readonly Frontend[] };
  /** Makes the table by which clients from outside are spread over a frontend's backends; undefined: at random. */
  readonly table?: ((frontend: Frontend) => Uint32Array | undefined) | undefined;
}

/** Numbers that the kernel's maps hold from an earlier life of the agent, by socket key. */
export interface KnownIds {
  readonly frontends: Iterable<readonly [key: string, id: number]>;
  readonly backends: Iterable<readonly [key: string, id: number]>;
  /** The highest number that connections name, though its backend may be gone: a backend that got it would get them too. */
  readonly newestBackend?: number;
}

/** Sizes of Maglev's tables to choose from: primes, as permutations need; Cilium's list. */
export const MAGLEV_SIZES = [251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131071] as const;

/** The kernel's side of load balancing. */
export interface LbTarget {
  /** Numbers that are in use from an earlier life of the agent. */
  known(): Promise<KnownIds>;
  /** A rejection says nothing about how much was done. Idempotent. */
  apply(changes: LbChanges): Promise<void>;
  /** Removes everything that is not among these; adds nothing. */
  prune(frontends: readonly Frontend[], backends: readonly Backend[]): Promise<void>;
}
