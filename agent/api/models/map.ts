export interface BPFMapList {
  readonly maps?: readonly BPFMap[];
}

/** Answer of `GET /v1/map/{name}`. */
export interface BPFMap {
  /** Path below the BPF root, or the map's name. */
  readonly path?: string;
  readonly cache?: readonly BPFMapEntry[];
}

export interface BPFMapEntry {
  readonly key?: string;
  readonly value?: string;
  readonly 'desired-action'?: 'ok' | 'insert' | 'delete';
  readonly 'last-error'?: string;
  /** Weir: the entry's fields, for programs. Map dumps of conntrack, ipcache and policy carry them. */
  readonly fields?: Readonly<Record<string, string | number | boolean>>;
}

export interface BPFMapProperties {
  readonly name?: string;
  readonly size?: number;
}

/*
 * Weir: `fields` of the entries, by map. Types, not interfaces, so that they are records too. Addresses and MACs are text,
 * ports and identities are in host order; counters are sums over all CPUs.
 */

/** `weir_policy_<endpoint id>`. */
export type PolicyMapFields = {
  readonly direction: 'ingress' | 'egress';
  /** Peer; 0 is any. */
  readonly identity: number;
  /** IANA number; 0 is any. */
  readonly protocol: number;
  /** Port, or ICMP type. */
  readonly port: number;
  /** Significant leading bits of `port`, 0 to 16. */
  readonly 'port-prefix-length': number;
  readonly deny: boolean;
  /** Allowed, but audited policies would deny it. */
  readonly audited: boolean;
  /** 0: not redirected. */
  readonly 'proxy-port': number;
  /** 0 none, 1 spire, 2 test-always-fail, 255 disabled. */
  readonly 'auth-type': number;
  readonly 'auth-explicit': boolean;
  readonly precedence: number;
  readonly cookie: number;
  /** Absent when the kernel does not count them. */
  readonly packets?: number;
  readonly bytes?: number;
};

/** `weir_ipcache`. */
export type IpcacheMapFields = {
  readonly prefix: string;
  readonly identity: number;
  /** Absent when traffic to the prefix is not tunnelled. */
  readonly 'tunnel-endpoint'?: string;
};

/** `weir_tunnel`: where pods of other nodes are. */
export type TunnelMapFields = {
  readonly prefix: string;
  readonly 'tunnel-endpoint': string;
};

/** `weir_lb_services`: slot 0 is a frontend, the others its backends. */
export type ServiceMapFields = {
  /** Such as `10.96.0.1:80/TCP`. */
  readonly frontend: string;
  readonly slot: number;
  /** `external`: for clients from outside, where those have other backends. */
  readonly scope?: 'internal' | 'external';
  /** Of slot 0: the number under which the frontend travels with connections. */
  readonly id?: number;
  readonly count?: number;
  /** Of slot 0: ClusterIP, LoadBalancer, ExternalIPs, NodePort or HostPort. */
  readonly type?: string;
  /** Of slot 0: names separated by commas, such as `Local, sessionAffinity`. */
  readonly flags?: string;
  /** Of slot 0, with session affinity. */
  readonly 'affinity-seconds'?: number;
  /** Of the other slots: key of `weir_lb_backends`. */
  readonly backend?: number;
};

/** `weir_lb_backends`. */
export type BackendMapFields = {
  readonly id: number;
  readonly socket: string;
  /** active, terminating or unready. */
  readonly state: string;
};

/** `weir_lb_affinity`. */
export type AffinityMapFields = {
  /** An address, or `netns` and a number. */
  readonly client: string;
  /** Number of the frontend. */
  readonly service: number;
  /** Key of `weir_lb_backends`. */
  readonly backend: number;
  readonly 'used-seconds-ago': number;
};

/** `weir_lb_source_ranges`. */
export type SourceRangeMapFields = {
  /** Number of the frontend. */
  readonly service: number;
  /** Prefix of clients that may use it. */
  readonly range: string;
};

/** `weir_lxc`. */
export type EndpointMapFields = {
  readonly ip: string;
  /** Endpoint; 0 is the host. */
  readonly id: number;
  readonly ifindex: number;
  /** Of the pod's end. */
  readonly mac: string;
  /** Of the host's end. */
  readonly 'host-mac': string;
  readonly identity: number;
  readonly host?: boolean;
};

/** `weir_nat`: one side of a connection that goes on under an address of the node. */
export type NatMapFields = {
  /** out: what its client sends; in: what answers look like. */
  readonly direction: 'out' | 'in';
  readonly protocol: number;
  readonly local: string;
  /** Of ICMP echo, its identifier. */
  readonly 'local-port': number;
  readonly remote: string;
  readonly 'remote-port': number;
  /** What `local` is on the other side. */
  readonly translated: string;
  readonly 'translated-port': number;
  /** Number of the frontend by which a client from outside came; 0: a pod of this node speaks to the world. */
  readonly service: number;
  /** Of `in`: seconds until it is forgotten; negative when it is waiting to be collected. */
  readonly 'expires-in'?: number;
};

/** `weir_bandwidth`: a limit. */
export type BandwidthMapFields = {
  /** Number of the endpoint. */
  readonly endpoint: number;
  /** ingress: what it is sent; egress: what it sends. */
  readonly direction: 'ingress' | 'egress';
  readonly 'bits-per-second': number;
  /** What may pass at once after a pause. */
  readonly 'burst-bytes': number;
};

/** `weir_ct4` and `weir_ct6`: a connection from the view of the endpoint that it belongs to. */
export type ConntrackMapFields = {
  /** Who opened it: ingress when the remote side did. */
  readonly direction: 'ingress' | 'egress';
  readonly protocol: number;
  readonly local: string;
  /** 0 for protocols without ports. */
  readonly 'local-port': number;
  readonly remote: string;
  readonly 'remote-port': number;
  /** Seconds until it is forgotten; negative when it is waiting to be collected. */
  readonly 'expires-in': number;
  readonly 'forward-packets': number;
  readonly 'forward-bytes': number;
  readonly 'reply-packets': number;
  readonly 'reply-bytes': number;
  readonly 'peer-identity': number;
  readonly cookie: number;
  readonly 'proxy-port': number;
  /** Names of the flags that are set, separated by spaces, such as `SeenNonSyn RxClosing`. */
  readonly flags: string;
};

/** `weir_metrics`; entries that counted nothing are left out. */
export type MetricsMapFields = {
  /** Why packets were dropped, in words, or `Success`. */
  readonly reason: string;
  readonly direction: 'ingress' | 'egress';
  readonly packets: number;
  readonly bytes: number;
};
