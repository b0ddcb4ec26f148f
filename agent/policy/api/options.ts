/** What the agent's configuration has to say about which policies are valid and what they mean. */
export interface DecodeOptions {
  /**
   * `enforce` (the default): what the kind's own schema forbids is refused here too: unknown fields, values outside an
   * enumeration, fields of a bygone version. `ignore`: only what would be meaningless to an agent is refused, as for an
   * object that an API server has already checked and pruned.
   */
  readonly schema?: 'enforce' | 'ignore';
  /** Name of the own cluster. */
  readonly clusterName: string;
  /** A peer selector that names no cluster means the own one. */
  readonly defaultLocalCluster: boolean;
  /** Layer 7 rules may be enforced: there is a proxy. */
  readonly l7Proxy: boolean;
  /** `icmps` is understood. */
  readonly icmpRules: boolean;
  /** fromNodes and toNodes: node identities carry node labels (S25). */
  readonly nodeSelectorLabels: boolean;
  /** VRRP, IGMP, GRE … beside TCP, UDP and SCTP. */
  readonly extendedIPProtocols: boolean;
  /** `enableDefaultDeny` is honoured; when false every rule turns default deny on (S13). */
  readonly nonDefaultDenyPolicies: boolean;
}

/** An agent without flags. */
export const DEFAULT_DECODE_OPTIONS: DecodeOptions = {
  schema: 'enforce',
  clusterName: 'default',
  defaultLocalCluster: true,
  l7Proxy: true,
  icmpRules: true,
  nodeSelectorLabels: false,
  extendedIPProtocols: false,
  nonDefaultDenyPolicies: true,
};
