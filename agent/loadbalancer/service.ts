import type { Address, Cidr } from '../model/address.ts';
import type { Port } from '../model/port.ts';
import type { HostPort, TrafficPolicy } from '../model/service.ts';

/** What load balancing needs to know of a Service; `agent/k8s`'s view of one fits. */
export interface LbService {
  readonly type: 'ClusterIP' | 'NodePort' | 'LoadBalancer' | 'ExternalName';
  readonly headless: boolean;
  readonly clusterAddresses: readonly Address[];
  readonly externalAddresses: readonly Address[];
  readonly loadBalancerAddresses: readonly Address[];
  readonly loadBalancerSourceRanges: readonly Cidr[];
  readonly ports: readonly LbServicePort[];
  readonly externalTrafficPolicy: TrafficPolicy;
  readonly internalTrafficPolicy: TrafficPolicy;
  /** Where load balancers ask whether this node has backends of its own. */
  readonly healthCheckNodePort: Port | undefined;
  /** Seconds for which a client keeps its backend; undefined without affinity. */
  readonly sessionAffinitySeconds: number | undefined;
}

export interface LbServicePort {
  /** Empty for the only port of a service. */
  readonly name: string;
  /** IANA number. */
  readonly protocol: number;
  readonly port: Port;
  /** A number, or the name of a container's port. */
  readonly targetPort: Port | string;
  readonly nodePort: Port | undefined;
}

/** What load balancing needs to know of an EndpointSlice; `agent/k8s`'s view of one fits. */
export interface LbSlice {
  readonly namespace: string;
  /** Name of the service in the same namespace; undefined when it belongs to none. */
  readonly service: string | undefined;
  readonly family: 4 | 6;
  readonly endpoints: readonly LbSliceEndpoint[];
  readonly ports: readonly LbSlicePort[];
}

export interface LbSliceEndpoint {
  readonly addresses: readonly Address[];
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
  readonly nodeName: string | undefined;
  readonly zone: string | undefined;
}

export interface LbSlicePort {
  readonly name: string;
  /** IANA number. */
  readonly protocol: number;
  /** Undefined means every port: that of the service is taken. */
  readonly port: Port | undefined;
}

/** What load balancing needs to know of a pod of this node that has ports of the node. */
export interface LbPod {
  /** One of each family that it has. */
  readonly addresses: readonly Address[];
  readonly hostPorts: readonly HostPort[];
}

/** The node that the load balancer works for. */
export interface LbNode {
  readonly name: string;
  /** Where node ports answer. The unspecified address stands for those of all nodes, which clients on this node may ask. */
  readonly addresses: readonly Address[];
}

/** What a load balancer that asks this node about a service is to hear. */
export interface ServiceHealth {
  /** Where it asks. */
  readonly port: Port;
  readonly localEndpoints: number;
}
