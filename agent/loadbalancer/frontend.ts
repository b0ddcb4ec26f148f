import { formatAddress, formatCidr, type Address, type Cidr } from '../model/address.ts';
import { protocolName, type Port } from '../model/port.ts';

/** Identifies a frontend wherever the kernel cannot carry an address: 1 to 65535, 0 is none. */
export type FrontendId = number & { readonly __brand: 'FrontendId' };

/** Identifies a backend in the kernel: above 0. */
export type BackendId = number & { readonly __brand: 'BackendId' };

/** Why an address answers for a service, in the order of precedence between services. */
export const FRONTEND_KINDS = ['ClusterIP', 'LoadBalancer', 'ExternalIPs', 'NodePort'] as const;
export type FrontendKind = (typeof FRONTEND_KINDS)[number];

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

/** One address and port of a service, and who answers for it. */
export interface Frontend extends Socket {
  readonly id: FrontendId;
  readonly kind: FrontendKind;
  /** `namespace/name`. */
  readonly service: string;
  readonly portName: string;
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

export function sameFrontend(a: Frontend, b: Frontend): boolean {
  return (
    a.id === b.id &&
    socketKey(a) === socketKey(b) &&
    a.kind === b.kind &&
    a.service === b.service &&
    a.portName === b.portName &&
    a.affinitySeconds === b.affinitySeconds &&
    sameList(a.backends, b.backends) &&
    sameList(a.externalBackends, b.externalBackends) &&
    (a.sourceRanges === undefined) === (b.sourceRanges === undefined) &&
    sameList(a.sourceRanges?.map(formatCidr) ?? [], b.sourceRanges?.map(formatCidr) ?? [])
  );
}

export function sameBackend(a: Backend, b: Backend): boolean {
  return (
    a.id === b.id && a.state === b.state && a.node === b.node && a.zone === b.zone && socketKey(a) === socketKey(b)
  );
}

function sameList<T>(a: readonly T[], b: readonly T[]): boolean {
  return a.length === b.length && a.every((item, i) => item === b[i]);
}
