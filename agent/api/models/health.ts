/** The models of Cilium's health API, `/v1beta`. */

/** Answer of `GET /v1beta/status` and `PUT /v1beta/status/probe`. */
export interface HealthStatusResponse {
  /** RFC 3339: when the last probe ended. */
  readonly timestamp?: string;
  /** How long it takes until every node was probed once, such as `1m23s`. */
  readonly probeInterval?: string;
  readonly local?: { readonly name?: string };
  readonly nodes?: readonly NodeHealthStatus[];
}

export interface NodeHealthStatus {
  /** `cluster/node`. */
  readonly name?: string;
  /** Of the node itself. */
  readonly host?: AddressHealthStatus;
  /** Of the endpoint that stands for its pods; absent when it announces none. */
  readonly 'health-endpoint'?: AddressHealthStatus;
}

export interface AddressHealthStatus {
  readonly 'primary-address'?: PathStatus;
  readonly 'secondary-addresses'?: readonly PathStatus[];
}

export interface PathStatus {
  readonly ip?: string;
  readonly icmp?: ConnectivityStatus;
  readonly http?: ConnectivityStatus;
}

/** Absent in a {@link PathStatus} until it was probed. */
export interface ConnectivityStatus {
  /** Nanoseconds. */
  readonly latency?: number;
  /** What went wrong; empty when nothing did. */
  readonly status?: string;
  /** RFC 3339. */
  readonly lastProbed?: string;
}
