/** What the agent's configuration has to say about how policies are enforced; parsed once, never changed (S12, S14). */
export interface PolicyConfig {
  /** `default`: what a policy selects. `always`: every endpoint. `never`: none. */
  readonly enforcement: 'default' | 'always' | 'never';
  /** The node may always reach its own pods; what `auto` means under Kubernetes (S14). */
  readonly allowLocalhost: boolean;
  /** Policies that select nodes are enforced on the host endpoint. */
  readonly hostFirewall: boolean;
  /** Name of the own cluster: the entity `cluster` is what carries it (S23). */
  readonly clusterName: string;
  /** With both, the world has three identities; with one, it is `reserved:world` alone (S21). */
  readonly enableIPv4: boolean;
  readonly enableIPv6: boolean;
  /** What CIDR selectors may match besides the world (S21). */
  readonly cidrMatchMode: readonly ('nodes' | 'pods')[];
}

/** An agent without flags, under Kubernetes. */
export const DEFAULT_POLICY_CONFIG: PolicyConfig = {
  enforcement: 'default',
  allowLocalhost: true,
  hostFirewall: false,
  clusterName: 'default',
  enableIPv4: true,
  enableIPv6: true,
  cidrMatchMode: [],
};
