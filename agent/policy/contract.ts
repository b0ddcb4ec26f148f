/**
 * What the policy engine promises to those who use it: the endpoint manager, the proxies, the ipcache, the CLI.
 *
 * The engine is pure: events go in through {@link PolicyEngine.apply}, changes to map states come out through the
 * callback of each {@link EndpointPolicy}. Nothing happens behind the caller's back and nothing waits.
 */
import type { Address, Cidr } from '../model/address.ts';
import type { Identity, IdentityId } from '../model/identity.ts';
import type { Label } from '../model/labels.ts';
import type { Direction, MapStateChanges, MapStateView, PolicyEntry } from '../model/mapstate.ts';
import type { WeirError } from '../model/errors.ts';
import type { Explanation } from './explain.ts';
import type { L7Spec, LabelSelector, Rule, RuleOrigin } from './rule.ts';

/** A container port that a policy may call by name. */
export interface NamedPort {
  readonly name: string;
  readonly port: number;
  /** IANA number; 0 is any. */
  readonly protocol: number;
}

/** A CiliumCIDRGroup, or the answer of a resolver of cloud provider groups. */
export interface CidrGroup {
  readonly name: string;
  readonly labels: readonly Label[];
  readonly cidrs: readonly Cidr[];
}

/** A Kubernetes service as policies see it (S24). */
export interface PolicyService {
  readonly namespace: string;
  readonly name: string;
  readonly labels: readonly Label[];
  /** Labels that its pods carry; undefined when the service has no selector and its backends count. */
  readonly selector?: LabelSelector;
  readonly backends: readonly Address[];
}

/** Events that take effect together. A list that is absent changes nothing. */
export interface PolicyBatch {
  /** Whole objects: all rules of an object replace all its former ones; undefined takes the object away. */
  readonly policies?: readonly { readonly key: string; readonly rules: readonly Rule[] | undefined }[];
  /** Takes away every object that is not in `policies`. */
  readonly replaceAllPolicies?: boolean;
  /** New identities, or known ones whose labels changed. */
  readonly identities?: readonly Identity[];
  readonly removedIdentities?: readonly IdentityId[];
  /** Ports by name of all pods of an identity, together (S35). */
  readonly namedPorts?: readonly { readonly identity: IdentityId; readonly ports: readonly NamedPort[] }[];
  readonly cidrGroups?: readonly { readonly name: string; readonly group: CidrGroup | undefined }[];
  readonly services?: readonly {
    readonly namespace: string;
    readonly name: string;
    readonly service: PolicyService | undefined;
  }[];
}

/** Why traffic is diverted, and to what; the same for all entries that share it. */
export interface Redirect {
  /** Unique and stable within an endpoint: `ingress:TCP:80:http`, `egress:TCP:443:crd:ns/config/listener`. */
  readonly id: string;
  readonly direction: Direction;
  readonly protocol: number;
  /** 0 when the port is wildcarded. */
  readonly port: number;
  readonly parser: string;
  /** Empty unless the parser is `crd`. */
  readonly listener: string;
}

/** Layer 7 of one redirect for the peers that one selector selects. */
export interface RedirectPolicy {
  readonly redirect: Redirect;
  /** Last port of the range that begins at the redirect's port; 0 for a single port. */
  readonly endPort: number;
  /** The port's name in the rules; empty when they give a number. */
  readonly portName: string;
  /** The selector in words. */
  readonly selector: string;
  /** Selects every peer, known or not. */
  readonly wildcard: boolean;
  /** Peers at this moment; empty for a wildcard. */
  readonly identities: readonly IdentityId[];
  /** Merged by S26 to S28; without rules everything is allowed. */
  readonly l7: L7Spec;
  readonly origins: readonly RuleOrigin[];
}

/** Port on which a proxy takes the redirect, in host order; 0 while there is none: the traffic is denied until then. */
export type ProxyPortResolver = (redirect: Redirect) => number;

/** What the engine needs to know of an endpoint. */
export interface EndpointPolicyRequest {
  readonly identity: IdentityId;
  /** Names that ingress rules may use (S35). */
  readonly namedPorts?: readonly NamedPort[];
  /** Absent where nothing is redirected for real: redirected entries carry proxy port 1. */
  readonly proxyPort?: ProxyPortResolver;
  /**
   * Called inside `apply`, `refresh` or `update` when the map state has changed, with exactly the difference. The
   * endpoint's error or redirects may have changed as well; then the difference may be empty.
   */
  readonly onChange?: (changes: MapStateChanges, policy: EndpointPolicy) => void;
}

/** A packet's verdict as a map state decides it. */
export interface LookupResult {
  readonly verdict: 'allow' | 'deny' | 'default-deny';
  /** Undefined when no entry matched. */
  readonly entry: PolicyEntry | undefined;
  /** The diversion of an allowed packet. */
  readonly redirect: Redirect | undefined;
}

/** The map state of an endpoint, kept current by the engine. */
export interface EndpointMapState extends MapStateView {
  /** Decides like the kernel (S7). `port` is the ICMP type for ICMP; all in host order. */
  lookup(direction: Direction, identity: IdentityId, protocol: number, port: number): LookupResult;
}

/** The policy of one endpoint. Endpoints of one identity share all that does not depend on the endpoint. */
export interface EndpointPolicy {
  readonly identity: IdentityId;
  /** Repository revision that the state reflects. */
  readonly revision: number;
  /** S12: whether the direction denies what is not allowed. */
  readonly enforced: { readonly ingress: boolean; readonly egress: boolean };
  /** Why, by direction; undefined where what nothing denies is allowed. */
  readonly defaultDeny: Readonly<Record<Direction, DefaultDeny | undefined>>;
  /** Rules that are audited, by direction: what they would deny in addition is forwarded and reported. */
  readonly audited: Readonly<Record<Direction, readonly RuleOrigin[]>>;
  /**
   * Set while rules contradict each other (S27): the map state is the last good one, or empty, which denies all.
   */
  readonly error: WeirError | undefined;
  readonly mapState: EndpointMapState;
  /** Names of ports that resolved nowhere (S35), and other things worth a warning. */
  readonly warnings: readonly string[];
  redirects(): readonly Redirect[];
  redirectPolicies(): readonly RedirectPolicy[];
  /** New named ports, or new answers of the proxy port resolver: changes go to `onChange`. */
  update(change: { readonly namedPorts?: readonly NamedPort[]; readonly proxyPorts?: boolean }): void;
  /** Ends the callbacks and frees what no other endpoint shares. */
  dispose(): void;
}

/** Why what nothing allows is denied (S12). */
export interface DefaultDeny {
  /** The rules that turn it on. */
  readonly origins: readonly RuleOrigin[];
  /** Without such rules: `policy-enforcement=always`, `reserved:init`, or `conflicting-rules` (S27). */
  readonly derivedFrom?: string;
}

/** What a cookie in an entry stands for. */
export interface CookieMeaning {
  readonly origins: readonly RuleOrigin[];
  /** Set for entries that no rule wrote: `allow-any-ingress`, `allow-localhost-ingress`, `deny-any-egress` … */
  readonly derivedFrom?: string;
  /** `log.value` of the rules. */
  readonly log: readonly string[];
}

/** Prefixes and names that must have identities so that rules can select them. */
export interface PolicyDemand {
  readonly cidrs: readonly Cidr[];
  readonly fqdns: readonly { readonly matchName?: string; readonly matchPattern?: string }[];
  /** Those of them that no pod asks for, canonical: ingress by name needs somebody to ask. */
  readonly polled: readonly string[];
}

/** A selector of the cache, as `weir policy selectors` shows it. */
export interface SelectorView {
  readonly selector: string;
  readonly identities: readonly IdentityId[];
  /** How many selector policies use it. */
  readonly users: number;
  /** One of the rules' origins for each object that has it. */
  readonly origins: readonly RuleOrigin[];
}

/** The policy engine of a node. */
export interface PolicyEngine {
  /** Grows with every batch that changes policies. */
  readonly revision: number;
  /**
   * Takes a batch in. Map states follow changes of identities, named ports, groups and services at once; endpoints whose
   * rules changed are marked and follow in {@link refresh}.
   */
  apply(batch: PolicyBatch): void;
  /**
   * Brings marked endpoints up to date, in slices of a few milliseconds: run it to its end, giving the event loop a turn
   * at each yield. A later batch may come in between.
   */
  refresh(): Generator<void, void, void>;
  /**
   * Makes the policy of an identity for an endpoint with these ports by name ahead of {@link endpointPolicy}, or of an
   * `update` of such an endpoint, which then takes little time itself. Run it to its end like {@link refresh}. What was
   * prepared in vain goes with the identity.
   *
   * @throws WeirError IDENTITY_NOT_FOUND
   */
  prepare(identity: IdentityId, namedPorts?: readonly NamedPort[]): Generator<void, void, void>;
  /** Starts to follow an endpoint. Its map state is complete when this returns. */
  endpointPolicy(request: EndpointPolicyRequest): EndpointPolicy;
  /** Meaning of a cookie; undefined once no map state holds it. */
  cookie(cookie: number): CookieMeaning | undefined;
  /**
   * Why a packet between two known identities is allowed or denied.
   *
   * @throws WeirError IDENTITY_NOT_FOUND; POLICY_CONFLICT when the subject's rules contradict each other (S27).
   */
  explain(packet: {
    readonly direction: Direction;
    readonly subject: IdentityId;
    readonly peer: IdentityId;
    readonly protocol: number;
    readonly port: number;
    /** Ports by name of the subject itself; those known of its identity when absent. */
    readonly subjectPorts?: readonly NamedPort[];
  }): Explanation;
  demand(): PolicyDemand;
  knownIdentities(): readonly IdentityId[];
  selectors(): readonly SelectorView[];
  /** Objects in force, by key. */
  policies(): ReadonlyMap<string, readonly Rule[]>;
}
