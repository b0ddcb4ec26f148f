import type { ConfigurationMap, ControllerStatuses, Endpoint, PolicyMapStatus } from './endpoint.ts';
import type { IPAMStatus, NodeAddressing } from './ipam.ts';
import type { BPFMapProperties } from './map.ts';
import type { Policy } from './policy.ts';

export type StatusState = 'Ok' | 'Warning' | 'Failure' | 'Disabled';

export interface Status {
  readonly state?: StatusState;
  readonly msg?: string;
}

/** Answer of `GET /v1/healthz`. */
export interface StatusResponse {
  /** The agent itself; clients of Cilium look for it under this name. */
  readonly cilium?: Status;
  readonly kvstore?: Status;
  readonly 'container-runtime'?: Status;
  readonly 'host-firewall'?: { readonly mode?: 'Disabled' | 'Enabled'; readonly devices?: readonly string[] };
  readonly hubble?: Status;
  readonly kubernetes?: Status & { readonly 'k8s-api-versions'?: readonly string[] };
  readonly 'kube-proxy-replacement'?: KubeProxyReplacement;
  readonly ipam?: IPAMStatus;
  readonly nodeMonitor?: MonitorStatus;
  readonly cluster?: ClusterStatus;
  readonly controllers?: ControllerStatuses;
  readonly proxy?: ProxyStatus;
  readonly 'identity-range'?: { readonly 'min-identity'?: number; readonly 'max-identity'?: number };
  readonly masquerading?: Masquerading;
  readonly routing?: RoutingStatus;
  readonly 'host-routing'?: { readonly mode?: 'BPF' | 'Legacy' };
  readonly 'clock-source'?: { readonly mode?: 'ktime' | 'jiffies' };
  readonly stale?: Readonly<Record<string, string>>;
  readonly 'bpf-maps'?: { readonly 'dynamic-size-ratio'?: number; readonly maps?: readonly BPFMapProperties[] };
  readonly encryption?: { readonly mode?: 'Disabled' | 'IPsec' | 'Wireguard' };
  readonly 'cni-file'?: Status;
  /** Weir: version of the agent. */
  readonly version?: string;
  /** Weir: how many endpoints are in which state. */
  readonly endpoints?: Readonly<Record<string, number>>;
  /** Weir: what of policies in force is not enforced, by policy. */
  readonly 'policy-gaps'?: Readonly<Record<string, readonly string[]>>;
  /** Weir: policy maps that are full, or nearly, by endpoint. */
  readonly 'policy-maps'?: Readonly<Record<string, PolicyMapStatus>>;
  /** Weir: RFC 3339 time at which the agent became ready. */
  readonly 'ready-since'?: string;
}

export interface Masquerading {
  readonly enabled?: boolean;
  readonly mode?: 'BPF' | 'iptables';
  readonly enabledProtocols?: { readonly ipv4?: boolean; readonly ipv6?: boolean };
  /** Weir: all of them; Cilium has one a family. */
  readonly 'snat-exclusion-cidrs'?: readonly string[];
}

export interface KubeProxyReplacement {
  readonly mode?: 'True' | 'False';
  readonly devices?: readonly string[];
  readonly features?: {
    readonly socketLB?: {
      readonly enabled?: boolean;
      /** Weir: whose sockets. */
      readonly cgroup?: string;
    };
    readonly sessionAffinity?: { readonly enabled?: boolean };
    readonly gracefulTermination?: { readonly enabled?: boolean };
  };
}

export interface MonitorStatus {
  readonly cpus?: number;
  readonly npages?: number;
  readonly pagesize?: number;
  readonly lost?: number;
  readonly unknown?: number;
  /** Weir: events of each type that a rate limit left out. */
  readonly limited?: Readonly<Record<string, number>>;
}

export interface ClusterStatus {
  readonly ciliumHealth?: Status;
  readonly self?: string;
  readonly nodes?: readonly NodeElement[];
}

/** Answer of `GET /v1/cluster/nodes`. */
export interface ClusterNodeStatus {
  readonly self?: string;
  readonly 'nodes-added'?: readonly NodeElement[];
}

export interface RoutingStatus {
  readonly 'inter-host-routing-mode'?: 'Tunnel' | 'Native';
  readonly 'intra-host-routing-mode'?: 'BPF' | 'Legacy';
  readonly 'tunnel-protocol'?: string;
}

export interface NodeElement {
  /** `cluster/node`. */
  readonly name?: string;
  /** Who announces it: `custom-resource`, `kubernetes`, `local` … */
  readonly source?: string;
  readonly 'primary-address'?: NodeAddressing;
  readonly 'secondary-addresses'?: readonly { readonly ip?: string; readonly 'address-type'?: string }[];
  readonly 'health-endpoint-address'?: NodeAddressing;
}

export interface ProxyStatus {
  readonly 'port-range'?: string;
  readonly ip?: string;
  readonly 'total-redirects'?: number;
  readonly 'total-ports'?: number;
}

/** Answer of `GET /v1/config`. */
export interface DaemonConfiguration {
  readonly spec?: DaemonConfigurationSpec;
  readonly status?: DaemonConfigurationStatus;
}

export type PolicyEnforcement = 'default' | 'always' | 'never';

/** Body of `PATCH /v1/config`. */
export interface DaemonConfigurationSpec {
  readonly options?: ConfigurationMap;
  readonly 'policy-enforcement'?: PolicyEnforcement;
}

export interface DaemonConfigurationStatus {
  readonly realized?: DaemonConfigurationSpec;
  readonly immutable?: ConfigurationMap;
  readonly addressing?: NodeAddressing;
  readonly 'k8s-endpoint'?: string;
  readonly 'k8s-configuration'?: string;
  readonly nodeMonitor?: MonitorStatus;
  /** MTU of pod interfaces in bytes. */
  readonly deviceMTU?: number;
  readonly routeMTU?: number;
  readonly datapathMode?: 'veth' | 'netkit' | 'netkit-l2';
  readonly 'ipam-mode'?: string;
  readonly masquerade?: boolean;
  readonly masqueradeProtocols?: { readonly ipv4?: boolean; readonly ipv6?: boolean };
  readonly daemonConfigurationMap?: Readonly<Record<string, unknown>>;
}

/** Answer of `GET /v1/debuginfo`. */
export interface DebugInfo {
  readonly 'cilium-version'?: string;
  readonly 'kernel-version'?: string;
  readonly 'cilium-status'?: StatusResponse;
  readonly 'endpoint-list'?: readonly Endpoint[];
  readonly policy?: Policy;
  readonly 'cilium-memory-map'?: string;
  readonly 'environment-variables'?: readonly string[];
  readonly subsystem?: Readonly<Record<string, string>>;
}
