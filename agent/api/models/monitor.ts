/** Weir: one line of `GET /v1/monitor`. */
export interface MonitorEvent {
  readonly type: 'drop' | 'trace' | 'policy-verdict';
  /** RFC 3339, with nanoseconds as far as the kernel gives them. */
  readonly time: string;
  /** Number of the endpoint that judged the packet; 0 when none did. */
  readonly endpoint: number;
  /** As the endpoint sees it. */
  readonly direction: 'ingress' | 'egress';
  readonly source: MonitorPeer;
  readonly destination: MonitorPeer;
  /** Name of the IP protocol, such as `TCP`, or its number as text. */
  readonly protocol: string;
  /** ICMP type and code, when the protocol is ICMP or ICMPv6. */
  readonly icmp?: { readonly type: number; readonly code: number };
  /** TCP flags that are set, such as `SYN`. */
  readonly tcpFlags?: readonly string[];
  /** drop: why; trace: where the packet was seen; policy-verdict: how the entry matched. */
  readonly reason: string;
  /** policy-verdict: what was decided. */
  readonly verdict?: 'allow' | 'deny' | 'audit' | 'redirect';
  readonly reply?: boolean;
  /** Interface index in the agent's network namespace. */
  readonly ifindex: number;
  /** Bytes on the wire. */
  readonly length: number;
  /** Policies that decided, such as `CiliumNetworkPolicy default/web`. */
  readonly policies?: readonly string[];
  /** How many events were lost right before this one, because this listener, or the agent, was too slow. */
  readonly lost?: number;
}

export interface MonitorPeer {
  readonly ip: string;
  /** 0 when the protocol has no ports. */
  readonly port: number;
  readonly identity: number;
  readonly labels?: readonly string[];
  /** `namespace/name`, when the address belongs to a known pod. */
  readonly pod?: string;
}
