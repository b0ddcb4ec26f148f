/** Weir: one line of `GET /v1/monitor`. */
export interface MonitorEvent {
  readonly type: 'drop' | 'trace' | 'policy-verdict' | 'l7';
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
  /** drop: why; trace: where the packet was seen; policy-verdict: how the entry matched; l7: why not forwarded, or empty. */
  readonly reason: string;
  /** policy-verdict: what was decided; l7: what a proxy did. */
  readonly verdict?: 'allow' | 'deny' | 'audit' | 'redirect' | 'forwarded' | 'denied' | 'error';
  /** l7: what was asked for by name, or answered. */
  readonly dns?: DnsEvent;
  readonly reply?: boolean;
  /** Interface index in the agent's network namespace. */
  readonly ifindex: number;
  /** Bytes on the wire. */
  readonly length: number;
  /** Policies that decided, such as `CiliumNetworkPolicy default/web`. */
  readonly policies?: readonly string[];
  /** How many events were lost right before this one, because this listener, or the agent, was too slow. */
  readonly lost?: number;
  /** How many were left out right before this one, because they were more than the rate limit lets through. */
  readonly limited?: number;
}

/** A message of the domain name system. */
export interface DnsEvent {
  readonly kind: 'request' | 'response';
  /** Canonical. */
  readonly query: string;
  /** Such as `AAAA`. */
  readonly qtype: string;
  /** Such as `NXDOMAIN`. */
  readonly rcode?: string;
  /** Seconds. */
  readonly ttl?: number;
  readonly ips?: readonly string[];
  readonly cnames?: readonly string[];
  /** Since the query came, for an answer. */
  readonly milliseconds?: number;
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
