/**
 * The one internal rule. Every policy kind (CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy, NetworkPolicy,
 * ClusterNetworkPolicy) is decoded, validated and converted to it by `policy/api`; nothing past this file knows where a
 * rule came from, except to say so to a person.
 */
import type { Cidr } from '../model/address.ts';
import type { Label } from '../model/labels.ts';
import type { Direction } from '../model/mapstate.ts';

/** Where a rule came from, to the item of the list it stands in. */
export interface RuleOrigin {
  readonly kind: 'CiliumNetworkPolicy' | 'CiliumClusterwideNetworkPolicy' | 'NetworkPolicy' | 'ClusterNetworkPolicy';
  /** Empty for clusterwide kinds. */
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** Path of the stanza in the object, such as `spec.ingress[0]` or `specs[1].egressDeny[2]`. */
  readonly path: string;
}

/** One requirement of a selector (S20). `key` includes its source: `any:app`, `k8s:app`, `reserved:host` (S19). */
export interface Requirement {
  readonly key: string;
  readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';
  /** Sorted, without repeats; empty for Exists and DoesNotExist. */
  readonly values: readonly string[];
}

/** All requirements must hold; an empty list selects everything. Canonical: sorted by key, operator, values. */
export interface LabelSelector {
  readonly requirements: readonly Requirement[];
}

export type EntityName =
  | 'all'
  | 'world'
  | 'world-ipv4'
  | 'world-ipv6'
  | 'cluster'
  | 'cluster-mesh'
  | 'host'
  | 'remote-node'
  | 'init'
  | 'ingress'
  | 'health'
  | 'unmanaged'
  | 'kube-apiserver'
  | 'none';

/** One L3 peer of a rule. */
export type PeerSelector =
  | { readonly kind: 'labels'; readonly selector: LabelSelector }
  | { readonly kind: 'nodes'; readonly selector: LabelSelector }
  | { readonly kind: 'entity'; readonly entity: EntityName }
  | {
      readonly kind: 'cidr';
      readonly cidr: Cidr;
      readonly except: readonly Cidr[];
      /** Only peers of the world, whatever prefixes match besides: `ipBlock` (S34). */
      readonly worldOnly?: boolean;
    }
  | {
      readonly kind: 'cidrGroup';
      /** By name, or by the labels of CIDR groups. */
      readonly group: { readonly name: string } | { readonly selector: LabelSelector };
      readonly except: readonly Cidr[];
    }
  | { readonly kind: 'fqdn'; readonly matchName?: string; readonly matchPattern?: string }
  | {
      readonly kind: 'service';
      readonly service:
        /** An empty namespace is any namespace. */
        | { readonly namespace: string; readonly name: string }
        | { readonly namespace: string; readonly selector: LabelSelector };
    }
  | { readonly kind: 'awsGroup'; readonly group: Readonly<Record<string, unknown>> };

/** A port, a range, an ICMP type, or a name that is resolved on the right side (S35). */
export type PortMatch =
  | { readonly kind: 'any' }
  | { readonly kind: 'number'; readonly port: number; /** ≥ port; S9 */ readonly endPort: number }
  | { readonly kind: 'named'; readonly name: string };

/** One port × protocol of a rule, with what applies to its traffic at layer 7. */
export interface PortSelector {
  /** IANA number; 0 is any protocol. */
  readonly protocol: number;
  readonly port: PortMatch;
  /** Shared by all ports of one `toPorts` item. */
  readonly l7?: L7Spec;
}

/** Layer 7 of one `toPorts` item; carried to the proxies as data. */
export interface L7Spec {
  readonly parser: 'http' | 'dns' | 'tls' | 'crd' | (string & {});
  /** Rules of that parser, validated; empty means that all is allowed. */
  readonly rules: readonly Readonly<Record<string, unknown>>[];
  readonly listener?: {
    readonly config: string;
    readonly name: string;
    readonly priority: number;
    /** A clusterwide policy names the configuration of a namespace: it is that of each pod that the policy selects. */
    readonly namespaceMissing?: boolean;
  };
  readonly terminatingTLS?: Readonly<Record<string, unknown>>;
  readonly originatingTLS?: Readonly<Record<string, unknown>>;
  readonly serverNames?: readonly string[];
}

export type AuthMode = 'disabled' | 'required' | 'test-always-fail';

/** One stanza: who, on which ports, and what happens to it. */
export interface RuleStanza {
  readonly origin: RuleOrigin;
  readonly direction: Direction;
  readonly action: 'allow' | 'deny' | 'pass';
  /** Undefined: every peer. Empty: none at all (S15). */
  readonly peers: readonly PeerSelector[] | undefined;
  /** Undefined: every port of every protocol. Empty: none at all. */
  readonly ports: readonly PortSelector[] | undefined;
  readonly auth?: AuthMode;
}

/** Admin is decided before, Baseline after, all ordinary policies (S38). */
export type Tier = 'admin' | 'normal' | 'baseline';

/** One `spec` of a policy object. */
export interface Rule {
  readonly origin: RuleOrigin;
  readonly tier: Tier;
  /** Within a tier, lower first; need not be whole; 0 for kinds without priority. */
  readonly priority: number;
  readonly subject: { readonly kind: 'endpoint' | 'node'; readonly selector: LabelSelector };
  readonly stanzas: readonly RuleStanza[];
  /** Whether the rule turns on default deny for its subject, per direction (S12, S13). */
  readonly defaultDeny: { readonly ingress: boolean; readonly egress: boolean };
  /** What the rule would deny in addition to others is forwarded and reported; it allows nothing either. */
  readonly audited?: boolean;
  /** Whether the rule speaks about the direction at all, default deny or not (S12). */
  readonly selects: { readonly ingress: boolean; readonly egress: boolean };
  readonly description?: string;
  /** `labels` of the rule as the user wrote them, for people and for `policy get`; they decide nothing. */
  readonly labels?: readonly Label[];
  /** `log.value`, shown with the flows that the rule decides. */
  readonly log?: string;
}
