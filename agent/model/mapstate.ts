import type { IdentityId } from './identity.ts';

/** `ingress` and `egress` are always the endpoint's view. */
export type Direction = 'ingress' | 'egress';

/**
 * Key of a policy entry (S6), in host order. The identity is exact or 0 (any). `port` is significant in its first
 * `portPrefix` bits; `portPrefix` is 0 when `protocol` is 0.
 */
export interface PolicyKey {
  readonly direction: Direction;
  readonly identity: IdentityId;
  /** IANA number; 0 is any. */
  readonly protocol: number;
  /** Port, or ICMP type; host order; bits past the prefix are 0. */
  readonly port: number;
  /** Significant leading bits of the port, 0 to 16. */
  readonly portPrefix: number;
}

/** What an entry decides (S7, S8). */
export interface PolicyEntry {
  readonly deny: boolean;
  /** Port of the proxy's listener; 0 when the traffic is not redirected. Host order. */
  readonly proxyPort: number;
  /** 0 none, 1 spire, 2 test-always-fail, 255 explicitly disabled. */
  readonly authType: number;
  /** True when the rule itself names the authentication type; false when it is inherited (S11). */
  readonly authExplicit: boolean;
  /** Higher wins between the exact identity's and identity 0's match (S7). Unsigned 32 bits. */
  readonly precedence: number;
  /** Names the deciding rules in events: an index into the cookie table of the policy repository; 0 is none. */
  readonly cookie: number;
}

/** The policy of one endpoint, ready for the kernel. */
export interface MapStateView {
  readonly size: number;
  entries(): Iterable<readonly [PolicyKey, PolicyEntry]>;
}

/** What changed between two map states. Applying it is idempotent. */
export interface MapStateChanges {
  readonly upserts: readonly (readonly [PolicyKey, PolicyEntry])[];
  readonly deletes: readonly PolicyKey[];
}

/** A text that is equal for equal keys, and only for them. */
export function policyKeyText(key: PolicyKey): string {
  return `${key.direction}/${key.identity}/${key.protocol}/${key.port}/${key.portPrefix}`;
}
