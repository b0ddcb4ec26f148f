/** Scenarios and answers of `weir policy evaluate`: policies, identities and ports in, a verdict for every peer out. */

/** The first line of a scenario file holds one of these; every line does. */
export interface ScenarioLine {
  readonly scenario: Scenario;
  readonly answer?: Answer;
}

export interface ScenarioConfig {
  readonly enforcement?: 'default' | 'always' | 'never';
  readonly allowLocalhost?: string;
  readonly clusterName?: string;
  /** A peer selector without a cluster label means this cluster. */
  readonly policyDefaultLocalCluster?: boolean;
  readonly enableIPv4?: boolean;
  readonly enableIPv6?: boolean;
  readonly hostFirewall?: boolean;
  readonly policyCIDRMatchMode?: readonly ('nodes' | 'pods')[];
  readonly l7Proxy?: boolean;
  readonly icmpRules?: boolean;
  readonly nodeSelectorLabels?: boolean;
  readonly nonDefaultDenyPolicies?: boolean;
  readonly extendedIPProtocols?: boolean;
}

export interface ScenarioIdentity {
  readonly id: number;
  /** Final labels: prefixes, names and CIDR groups are among them. Absent for a prefix known by its DNS names alone. */
  readonly labels?: readonly string[];
  readonly cidr?: string;
  readonly dnsNames?: readonly string[];
  readonly namedPorts?: Readonly<Record<string, { readonly port: number; readonly protocol?: string }>>;
}

export interface ScenarioUpdate {
  readonly add?: readonly ScenarioIdentity[];
  readonly delete?: readonly number[];
}

export interface Scenario {
  readonly name: string;
  readonly config?: ScenarioConfig;
  readonly identities: readonly ScenarioIdentity[];
  /** Kubernetes objects. */
  readonly policies: readonly unknown[];
  readonly subjects: readonly number[];
  readonly ports: readonly { readonly proto: string; readonly port: number }[];
  readonly updates?: readonly ScenarioUpdate[];
}

export interface Result {
  readonly verdict: 'allow' | 'deny' | 'default-deny';
  /** `http`, `dns`, `tls`, `listener`; an expected `proxy` stands for any of them. */
  readonly redirect?: string;
  readonly auth?: string;
  /** Who decided: `CNP/default/web`. */
  readonly rules?: readonly string[];
  /** Allowed, but audited policies would deny it: these. */
  readonly audited?: readonly string[];
}

/** One character for each peer, each a key of `results`. */
export type Matrix = Readonly<Record<'ingress' | 'egress', Readonly<Record<string, string>>>>;

export interface Verdicts {
  readonly results: Readonly<Record<string, Result>>;
  readonly matrix: Matrix;
}

/** Layer 7 of one redirect. */
export interface L7Answer {
  readonly dir: 'ingress' | 'egress';
  readonly proto: string;
  readonly port: number;
  /** Of a range. */
  readonly endPort?: number;
  readonly portName?: string;
  readonly parser: string;
  readonly peers: readonly number[];
  readonly serverNames?: readonly string[];
  /** `namespace/config/name` */
  readonly listener?: string;
  /** Rules under the name of their parser; without any, all is allowed. */
  readonly [rules: string]: unknown;
}

export interface UpdateAnswer extends Partial<Verdicts> {
  readonly peers?: readonly number[];
  /** Not to be compared. */
  readonly skip?: unknown;
}

export interface SubjectAnswer extends Partial<Verdicts> {
  readonly id: number;
  readonly ingressEnforced?: boolean;
  readonly egressEnforced?: boolean;
  /** The rules contradict each other; only the fact counts. */
  readonly error?: string;
  readonly l7?: readonly L7Answer[];
  readonly updates?: readonly UpdateAnswer[];
}

export interface Answer {
  readonly name?: string;
  readonly policies: readonly { readonly accepted: boolean; readonly errors?: readonly string[] }[];
  /** Column order of every matrix. */
  readonly peers: readonly number[];
  readonly subjects: readonly SubjectAnswer[];
}
