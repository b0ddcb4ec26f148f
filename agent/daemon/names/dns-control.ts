import type {
  DnsProxy,
  EndpointNames,
  LearnedAnswer,
  LearnTimes,
  ProxyCounters,
  ProxyListener,
  QueryRecord,
} from '../../../dns-proxy/contract.ts';
import { Broadcast, ListQueue, type Subscription } from '../../flow/broadcast.ts';
import { peerNames, type PortsByName } from '../../fqdn/peernames.ts';
import { parseAddress, formatAddress } from '../../model/address.ts';
import type { Clock } from '../../model/clock.ts';
import { endpointId, type EndpointId } from '../../model/endpoint.ts';
import type { Endpoint } from '../../endpoint/endpoint.ts';
import type { EndpointProxies } from '../../endpoint/environment.ts';
import type { Redirect } from '../../policy/contract.ts';
import type { Names } from './names.ts';

export interface DnsControlOptions {
  readonly names: Names;
  readonly clock: Clock;
  /** The living endpoint of the number. */
  readonly endpoint: (id: EndpointId) => Endpoint | undefined;
  readonly portsByName: PortsByName;
  /** Port of the last run's proxy, which the policy maps still name; 0 when there was none. */
  readonly port: number;
  /** The policy maps are to name another port. */
  readonly onPort: (port: number) => void;
}

/** The agent's side of the DNS proxy: tells it what endpoints may ask, learns from it what they were answered. */
export class DnsControl implements ProxyListener, EndpointProxies {
  readonly #options: DnsControlOptions;
  /** What the proxy is told, and what it was told last. */
  readonly #endpoints = new Map<EndpointId, EndpointNames>();
  readonly #changed = new Set<EndpointId>();
  #grantsChanged = false;
  #scheduled = false;
  #port: number;
  #proxy: DnsProxy | undefined;
  /** Everything is known that was there at the start. */
  #complete = false;
  #counters: ProxyCounters | undefined;
  readonly #listeners = new Broadcast(() => new ListQueue<QueryRecord>());

  constructor(options: DnsControlOptions) {
    this.#options = options;
    this.#port = options.port;
    options.names.onGrants = () => {
      this.#grantsChanged = true;
      this.#schedule();
    };
  }

  /** Counts of the proxy, as last told. */
  get counts(): ProxyCounters | undefined {
    return this.#counters;
  }

  /** The proxy that listens now, and to how many ports of servers endpoints are diverted from; undefined: there is none. */
  get listening(): { readonly port: number; readonly redirects: number } | undefined {
    const port = this.#proxy?.port;
    if (port === undefined) return undefined;
    const ofEndpoint = ({ rules }: EndpointNames): number =>
      new Set(rules.map((rule) => `${rule.protocol}/${rule.port}`)).size;
    const redirects = [...this.#endpoints.values()].reduce((sum, each) => sum + ofEndpoint(each), 0);
    return { port, redirects };
  }

  /** Port that policy maps name; 0 when there was never a proxy. */
  get lastPort(): number {
    return this.#port;
  }

  /** The proxy that is told of changes from now on. */
  attach(proxy: DnsProxy): void {
    this.#proxy = proxy;
    if (this.#listeners.size > 0) proxy.watch(true);
    this.#tellAll();
  }

  /** Addresses were closed that the proxy believes to be open. */
  forgetLeases(): void {
    this.#proxy?.forget();
  }

  /** The endpoints of the last run are under their policies: the proxy may know. */
  complete(): void {
    this.#complete = true;
    this.#tellAll();
  }

  port({ parser, direction }: Redirect): number {
    return parser === 'dns' && direction === 'egress' ? this.#port : 0;
  }

  follow(endpoint: Endpoint): void {
    const wanted = this.#namesOf(endpoint);
    if (wanted.rules.length === 0) {
      this.#drop(endpoint.id);
      return;
    }
    if (sameNames(this.#endpoints.get(endpoint.id), wanted)) return;
    this.#endpoints.set(endpoint.id, wanted);
    this.#changed.add(endpoint.id);
    this.#schedule();
  }

  forget({ id }: Endpoint): void {
    this.#drop(id);
    this.#options.names.removeEndpoint(id);
  }

  connected(port: number, backlog: readonly LearnedAnswer[]): void {
    // Nobody waits for these; what fails is told and tried again.
    for (const answer of backlog) this.learned(answer)?.catch(() => undefined);
    if (port !== this.#port) {
      this.#port = port;
      this.#options.onPort(port);
    }
    this.#tellAll();
  }

  lost(): void {
    // Its port stays in the policy maps: a proxy that comes back takes it again, and nothing passes meanwhile.
  }

  learned(answer: LearnedAnswer): Promise<LearnTimes> | undefined {
    const { names, clock, endpoint } = this.#options;
    const id = endpointId(answer.endpoint);
    // Also answers that waited for the agent to come back: their endpoint may have gone, and time has passed.
    if (endpoint(id) === undefined) return undefined;
    const ttl = Math.max(0, answer.ttl - Math.floor(Math.max(0, clock.now() - answer.time) / 1000));
    const began = clock.now();
    const work = names.learn(id, answer.name, answer.addresses.map(parseAddress), ttl);
    return work?.then(() => ({ mapsMs: clock.now() - began }));
  }

  queries(records: readonly QueryRecord[], lost: number): void {
    this.#listeners.miss({ count: lost, cause: 'lost' });
    for (const record of records) this.#listeners.publish(record);
    if (this.#listeners.size === 0) this.#proxy?.watch(false);
  }

  /** Queries and answers from now on; those of which more than `capacity` wait are lost to this subscriber. */
  watchQueries(capacity: number): Subscription<QueryRecord> {
    const subscription = this.#listeners.subscribe(capacity);
    this.#proxy?.watch(true);
    return subscription;
  }

  counters(counters: ProxyCounters): void {
    this.#counters = counters;
  }

  #namesOf({ id, identity, policy, addresses }: Endpoint): EndpointNames {
    const rules = peerNames(policy?.redirectPolicies() ?? [], this.#options.portsByName);
    return { endpoint: id, identity: identity?.id ?? 0, addresses: addresses.map(formatAddress), rules };
  }

  #drop(id: EndpointId): void {
    if (!this.#endpoints.delete(id)) return;
    this.#changed.add(id);
    this.#schedule();
  }

  #tellAll(): void {
    if (!this.#complete || this.#proxy?.port === undefined) return;
    this.#changed.clear();
    this.#grantsChanged = false;
    this.#proxy.replace([...this.#endpoints.values()], this.#options.names.grants());
  }

  /** Changes of one turn are told together. */
  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#tellChanges();
    });
  }

  #tellChanges(): void {
    if (!this.#complete || this.#proxy?.port === undefined) return;
    const changed = [...this.#changed];
    const endpoints = changed.flatMap((id) => this.#endpoints.get(id) ?? []);
    const removed = changed.filter((id) => !this.#endpoints.has(id));
    const grants = this.#grantsChanged ? { grants: this.#options.names.grants() } : {};
    this.#changed.clear();
    this.#grantsChanged = false;
    this.#proxy.change({
      ...(endpoints.length > 0 && { endpoints }),
      ...(removed.length > 0 && { removed }),
      ...grants,
    });
  }
}

/** Rules are compared by their lists, which the policy engine makes anew only when they change. */
function sameNames(a: EndpointNames | undefined, b: EndpointNames): boolean {
  if (a === undefined || a.identity !== b.identity || a.rules.length !== b.rules.length) return false;
  return a.rules.every((rule, i) => {
    const other = b.rules[i]!;
    return (
      rule.names === other.names &&
      rule.protocol === other.protocol &&
      rule.port === other.port &&
      rule.endPort === other.endPort &&
      sameNumbers(rule.peers, other.peers)
    );
  });
}

function sameNumbers(a: readonly number[] | undefined, b: readonly number[] | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a.length === b.length && a.every((number, i) => number === b[i]);
}
