/** Addresses that one endpoint knows of one name: one of `GET /v1/fqdn/cache`. */
export interface DNSLookup {
  readonly fqdn?: string;
  readonly ips?: readonly string[];
  /** RFC 3339. */
  readonly 'lookup-time'?: string;
  /** Weir: seconds that are left; 0 when it is past. */
  readonly ttl?: number;
  /** RFC 3339: when the addresses may no longer be used for new connections, or could be used last. */
  readonly 'expiration-time'?: string;
  readonly 'endpoint-id'?: number;
  /** `lookup`: an answer of DNS; `connection`: past its TTL, and kept for the sake of connections. */
  readonly source?: 'lookup' | 'connection';
}

/** Answer of `GET /v1/fqdn/names`. */
export interface NameManager {
  readonly FQDNPolicySelectors?: readonly SelectorEntry[];
  /** Names that the node itself asks for, because policies allow ingress from them. */
  readonly DNSPollNames?: readonly string[];
}

/** A selector of names that a policy uses. */
export interface SelectorEntry {
  /** What it comes to, as a regular expression; none is run. */
  readonly regexString?: string;
  readonly selectorString?: string;
}
