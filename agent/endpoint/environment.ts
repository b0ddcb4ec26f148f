import type { IdentityRegistry } from '../identity/registry.ts';
import type { Ipcache } from '../ipcache/ipcache.ts';
import type { Ipam } from '../ipam/ipam.ts';
import type { Cidr } from '../model/address.ts';
import type { Clock } from '../model/clock.ts';
import type { EndpointDatapath } from '../model/datapath.ts';
import type { PolicyEngine, Redirect } from '../policy/contract.ts';
import type { Endpoint } from './endpoint.ts';
import type { LabelContext } from './endpoint-labels.ts';
import type { EndpointStore } from './store.ts';

/** The proxies that policies divert traffic to, as endpoints need them. */
export interface EndpointProxies {
  /** Port of the listener that takes a redirect, in host order; 0 while there is none: the traffic is denied. */
  port(redirect: Redirect): number;
  /** The endpoint's identity or redirects may be others than before; called before its policy map says so. */
  follow(endpoint: Endpoint): void;
  /** The endpoint is no more. */
  forget(endpoint: Endpoint): void;
}

/** Who tells other nodes of the endpoints here. */
export interface EndpointAnnouncer {
  /** The endpoint is enforced as it is now. */
  setEndpoint(endpoint: Endpoint): void;
  /** The endpoint is going away. */
  removeEndpoint(endpoint: Endpoint): void;
}

/** Everything that the life of an endpoint touches. */
export interface EndpointEnvironment {
  readonly datapath: EndpointDatapath;
  readonly identities: IdentityRegistry;
  readonly ipam: Ipam;
  readonly ipcache: Ipcache;
  /** Resolves when the kernel's ipcache holds what {@link ipcache} says of `prefixes` now; rejects when it cannot. */
  readonly flushIpcache: (prefixes: readonly Cidr[]) => Promise<void>;
  readonly policies: PolicyEngine;
  readonly proxies: EndpointProxies;
  readonly store: EndpointStore;
  readonly labels: LabelContext;
  readonly clock: Clock;
  /** Tells other nodes; absent where there are none. */
  readonly announcer?: EndpointAnnouncer;
  /** How long a new endpoint waits for its Pod object, where objects may be late, in milliseconds. */
  readonly podWaitMs: number;
  /** How long other nodes have to learn of an identity before an endpoint goes over to it, in milliseconds. */
  readonly identityGraceMs: number;
  /** MTU of pods whose request names none, in bytes. */
  readonly mtu: number;
  /** Whether new endpoints only report what policy would drop. */
  readonly auditMode: boolean;
  /** Whether pods' annotations limit their bandwidth. */
  readonly bandwidthManager: boolean;
  /** A regeneration ended, after so many milliseconds. */
  readonly regenerated?: (outcome: 'success' | 'fail', milliseconds: number) => void;
  /** What happened to an endpoint, for the log. */
  readonly report: (endpoint: Endpoint, message: string, error?: unknown) => void;
}
