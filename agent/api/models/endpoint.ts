import type { EndpointState } from '../../model/endpoint.ts';
import type { AddressPair, NodeAddressing } from './ipam.ts';
import type { Identity } from './policy.ts';

/** Text labels, `source:key=value`. */
export type Labels = readonly string[];

/** Configuration switches by name; values are text, as in `Enabled` and `Disabled`. */
export type ConfigurationMap = Readonly<Record<string, string>>;

/** A namespaced network interface to which policy applies. */
export interface Endpoint {
  /** Number of the endpoint on this node. */
  readonly id: number;
  readonly spec?: EndpointConfigurationSpec;
  readonly status?: EndpointStatus;
}

/** Body of `PUT` and `PATCH /v1/endpoint/{id}`. */
export interface EndpointChangeRequest {
  readonly id?: number;
  readonly 'container-id'?: string;
  readonly 'container-name'?: string;
  readonly 'container-interface-name'?: string;
  readonly 'docker-endpoint-id'?: string;
  readonly 'docker-network-id'?: string;
  readonly labels?: Labels;
  readonly 'interface-name'?: string;
  readonly 'interface-index'?: number;
  readonly state?: EndpointState;
  readonly mac?: string;
  readonly 'host-mac'?: string;
  /** Addresses that the caller allocated; without it the agent allocates from its pod CIDRs. */
  readonly addressing?: AddressPair;
  readonly 'k8s-pod-name'?: string;
  readonly 'k8s-namespace'?: string;
  readonly 'k8s-uid'?: string;
  readonly 'datapath-map-id'?: number;
  readonly 'policy-enabled'?: boolean;
  readonly pid?: number;
  readonly 'sync-build-endpoint'?: boolean;
  readonly 'datapath-configuration'?: EndpointDatapathConfiguration;
  /** Weir: the pod's network namespace, as the runtime names it in CNI_NETNS; the agent creates the link in it. */
  readonly 'network-namespace-path'?: string;
  /** Weir: MTU of the pod's interface in bytes; the node's when absent. */
  readonly mtu?: number;
  /** Weir: limits of what has no Pod object to say them; `burst-bytes` is the agent's choice when absent. */
  readonly bandwidth?: BandwidthRequest;
}

export interface BandwidthRequest {
  readonly ingress?: BandwidthLimitRequest;
  readonly egress?: BandwidthLimitRequest;
}

export type BandwidthLimitRequest = Pick<BandwidthLimitStatus, 'bits-per-second'> & Partial<BandwidthLimitStatus>;

export interface EndpointDatapathConfiguration {
  readonly 'require-arp-passthrough'?: boolean;
  readonly 'require-egress-prog'?: boolean;
  readonly 'external-ipam'?: boolean;
  readonly 'require-routing'?: boolean;
  readonly 'install-endpoint-route'?: boolean;
  readonly 'disable-sip-verification'?: boolean;
}

/** Body of `DELETE /v1/endpoint`. */
export interface EndpointBatchDeleteRequest {
  readonly 'container-id'?: string;
}

export interface EndpointStatus {
  readonly state: EndpointState;
  readonly 'external-identifiers'?: EndpointIdentifiers;
  readonly identity?: Identity;
  readonly labels?: LabelConfigurationStatus;
  readonly realized?: EndpointConfigurationSpec;
  readonly networking?: EndpointNetworking;
  readonly policy?: EndpointPolicyStatus;
  readonly log?: EndpointStatusLog;
  readonly controllers?: ControllerStatuses;
  readonly health?: EndpointHealth;
  readonly namedPorts?: readonly NamedPort[];
  /** Weir: how full its policy map is. */
  readonly 'policy-map'?: PolicyMapStatus;
  /** Weir: what it may send and be sent; absent without limits. */
  readonly bandwidth?: BandwidthStatus;
}

/** Weir: limits of an endpoint, by direction; none where absent. */
export interface BandwidthStatus {
  readonly ingress?: BandwidthLimitStatus;
  readonly egress?: BandwidthLimitStatus;
}

export interface BandwidthLimitStatus {
  readonly 'bits-per-second': number;
  /** What may pass at once after a pause. */
  readonly 'burst-bytes': number;
}

/** Weir: how full an endpoint's policy map is, or would be. */
export interface PolicyMapStatus {
  /** What the policy takes, written or not. */
  readonly entries: number;
  readonly 'max-entries': number;
  /** The policy does not fit: all of the endpoint's traffic is dropped until it does. */
  readonly lockdown: boolean;
}

export interface NamedPort {
  readonly name?: string;
  readonly port?: number;
  readonly protocol?: string;
}

export interface EndpointIdentifiers {
  /** `<containerID>:<ifname>`. */
  readonly 'cni-attachment-id'?: string;
  readonly 'container-id'?: string;
  readonly 'container-name'?: string;
  readonly 'docker-endpoint-id'?: string;
  readonly 'docker-network-id'?: string;
  /** `namespace/name`; older clients read it. */
  readonly 'pod-name'?: string;
  readonly 'k8s-pod-name'?: string;
  readonly 'k8s-namespace'?: string;
  /** Weir: UID of the pod. */
  readonly 'k8s-uid'?: string;
}

export interface EndpointNetworking {
  readonly addressing?: readonly AddressPair[];
  /** Router addresses: the pod's gateways. */
  readonly 'host-addressing'?: NodeAddressing;
  readonly 'host-mac'?: string;
  readonly mac?: string;
  /** Name of the host end. */
  readonly 'interface-name'?: string;
  readonly 'interface-index'?: number;
  readonly 'container-interface-name'?: string;
  /** Weir: MTU of the pod's interface in bytes. */
  readonly mtu?: number;
  /** Weir: the pod's network namespace. */
  readonly 'network-namespace-path'?: string;
}

export type EndpointHealthStatus = 'OK' | 'Bootstrap' | 'Pending' | 'Warning' | 'Failure' | 'Disabled';

/** Answer of `GET /v1/endpoint/{id}/healthz`. */
export interface EndpointHealth {
  readonly overallHealth?: EndpointHealthStatus;
  readonly bpf?: EndpointHealthStatus;
  readonly policy?: EndpointHealthStatus;
  /** Whether the link stands in the pod and on the host. */
  readonly connected?: boolean;
}

export interface EndpointStatusChange {
  /** RFC 3339. */
  readonly timestamp?: string;
  readonly code?: 'ok' | 'failed';
  readonly message?: string;
  readonly state?: EndpointState;
}

/** Newest first. */
export type EndpointStatusLog = readonly EndpointStatusChange[];

export type EndpointPolicyEnabled =
  'none' | 'ingress' | 'egress' | 'both' | 'audit-ingress' | 'audit-egress' | 'audit-both';

export interface EndpointPolicyStatus {
  readonly spec?: EndpointPolicy;
  readonly realized?: EndpointPolicy;
  /** Weir: policies that are audited: what they would deny in addition is forwarded and reported. Absent without any. */
  readonly 'audited-policies'?: { readonly ingress: readonly string[]; readonly egress: readonly string[] };
  readonly 'proxy-policy-revision'?: number;
  readonly 'proxy-statistics'?: readonly unknown[];
}

export interface EndpointPolicy {
  readonly 'policy-revision'?: number;
  /** Identity of the endpoint. */
  readonly id?: number;
  readonly 'policy-enabled'?: EndpointPolicyEnabled;
  readonly build?: number;
  readonly 'allowed-ingress-identities'?: readonly number[];
  readonly 'denied-ingress-identities'?: readonly number[];
  readonly 'allowed-egress-identities'?: readonly number[];
  readonly 'denied-egress-identities'?: readonly number[];
  readonly l4?: L4Policy;
  readonly 'cidr-policy'?: L4Policy;
}

export interface L4Policy {
  readonly ingress?: readonly PolicyRule[];
  readonly egress?: readonly PolicyRule[];
}

export interface PolicyRule {
  readonly rule?: string;
  readonly 'derived-from-rules'?: readonly (readonly string[])[];
  readonly 'rules-by-selector'?: Readonly<Record<string, readonly (readonly string[])[]>>;
}

export interface EndpointConfigurationSpec {
  readonly options?: ConfigurationMap;
  readonly 'label-configuration'?: LabelConfigurationSpec;
}

/** Answer of `GET /v1/endpoint/{id}/config`. */
export interface EndpointConfigurationStatus {
  readonly realized?: EndpointConfigurationSpec;
  readonly immutable?: ConfigurationMap;
  readonly error?: ApiError;
}

/** Answer of `GET /v1/endpoint/{id}/labels`. */
export interface LabelConfiguration {
  readonly spec?: LabelConfigurationSpec;
  readonly status?: LabelConfigurationStatus;
}

/** Body of `PATCH /v1/endpoint/{id}/labels`. */
export interface LabelConfigurationSpec {
  /** Labels in addition to the orchestrator's. */
  readonly user?: Labels;
}

export interface LabelConfigurationStatus {
  readonly realized?: LabelConfigurationSpec;
  readonly 'security-relevant'?: Labels;
  readonly derived?: Labels;
  readonly disabled?: Labels;
}

export type ControllerStatuses = readonly ControllerStatus[];

export interface ControllerStatus {
  readonly name?: string;
  readonly uuid?: string;
  readonly status?: {
    readonly 'success-count'?: number;
    readonly 'last-success-timestamp'?: string;
    readonly 'failure-count'?: number;
    readonly 'last-failure-timestamp'?: string;
    readonly 'consecutive-failure-count'?: number;
    readonly 'last-failure-msg'?: string;
  };
}

/** Body of every answer that is not a success: the full text. Its parts stand in the `weir-error` header. */
export type ApiError = string;

/** Weir: the header `weir-error` is this as JSON, percent-encoded. */
export interface ApiErrorDetails {
  /** Code of the error catalogue (`agent/model/errors.ts`). */
  readonly code: string;
  readonly message: string;
  readonly object?: string;
  readonly field?: string;
  readonly remedy: string;
}

/** Name of the header that carries {@link ApiErrorDetails}. */
export type ApiErrorHeader = 'weir-error';
