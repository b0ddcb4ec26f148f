/** One frontend of a service and who answers for it. */
export interface Service {
  readonly spec?: ServiceSpec;
  readonly status?: ServiceStatus;
}

export interface ServiceStatus {
  /** What the kernel does. */
  readonly realized?: ServiceSpec;
}

export interface ServiceSpec {
  /** The number under which the frontend travels with connections. */
  readonly id?: number;
  readonly 'frontend-address'?: FrontendAddress;
  readonly 'backend-addresses'?: readonly BackendAddress[];
  readonly flags?: ServiceFlags;
}

export type ServiceType = 'ClusterIP' | 'NodePort' | 'ExternalIPs' | 'HostPort' | 'LoadBalancer' | 'LocalRedirect';
export type ServiceTrafficPolicy = 'Cluster' | 'Local';

export interface ServiceFlags {
  /** Name and namespace of the Service. */
  readonly name?: string;
  readonly namespace?: string;
  readonly type?: ServiceType;
  readonly trafficPolicy?: ServiceTrafficPolicy;
  readonly extTrafficPolicy?: ServiceTrafficPolicy;
  readonly intTrafficPolicy?: ServiceTrafficPolicy;
  readonly natPolicy?: 'None' | 'Nat46' | 'Nat64';
  readonly healthCheckNodePort?: number;
  /** Weir: name of the service's port. */
  readonly portName?: string;
  /** Weir: seconds for which a client keeps its backend; absent without session affinity. */
  readonly sessionAffinitySeconds?: number;
  /** Weir: prefixes that may use a load balancer's address; absent when everybody may. */
  readonly sourceRanges?: readonly string[];
}

export interface FrontendAddress {
  readonly ip?: string;
  readonly protocol?: string;
  readonly port?: number;
  /** Whom the backends are for: clients of this node where that makes a difference, else everybody. */
  readonly scope?: 'external' | 'internal';
}

export interface BackendAddress {
  readonly ip: string;
  readonly protocol?: string;
  readonly port?: number;
  readonly nodeName?: string;
  readonly zone?: string;
  readonly state?: 'active' | 'terminating' | 'quarantined' | 'maintenance';
  readonly preferred?: boolean;
  readonly weight?: number;
}
