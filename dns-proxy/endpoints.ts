/** The endpoints whose queries come here, found by their addresses, with the rules for their queries. */
import { parseAddress } from '../agent/model/address.ts';
import { addressKey, type AddressKey } from './address-key.ts';
import type { EndpointNames, RulesChange } from './contract.ts';
import { QueryPolicies, type Query, type QueryVerdict } from './rules/query-policy.ts';

/** One endpoint as the proxy knows it, with what it has going on. */
export interface ProxyEndpoint {
  readonly id: number;
  /** What its queries carry upstream. */
  identity: number;
  addresses: readonly AddressKey[];
  /** Queries on their way. */
  inFlight: number;
  /** Open TCP connections. */
  connections: number;
}

export class Endpoints {
  readonly #byId = new Map<number, ProxyEndpoint>();
  readonly #byAddress = new Map<AddressKey, ProxyEndpoint>();
  readonly #policies = new QueryPolicies();

  /** Makes these all there are. @returns endpoints that are no more */
  replace(endpoints: readonly EndpointNames[]): readonly number[] {
    const kept = new Set(endpoints.map(({ endpoint }) => endpoint));
    const removed = [...this.#byId.keys()].filter((id) => !kept.has(id));
    this.change({ endpoints, removed });
    return removed;
  }

  change({ endpoints = [], removed = [] }: Pick<RulesChange, 'endpoints' | 'removed'>): void {
    for (const id of removed) this.#remove(id);
    for (const names of endpoints) this.#set(names);
  }

  /** Whose address this is. */
  at(address: AddressKey): ProxyEndpoint | undefined {
    return this.#byAddress.get(address);
  }

  decide(endpoint: ProxyEndpoint, query: Query): QueryVerdict {
    return this.#policies.decide(endpoint.id, query);
  }

  get size(): number {
    return this.#byId.size;
  }

  #set({ endpoint: id, identity, addresses, rules }: EndpointNames): void {
    const endpoint = this.#byId.get(id) ?? { id, identity, addresses: [], inFlight: 0, connections: 0 };
    this.#byId.set(id, endpoint);
    this.#forgetAddresses(endpoint);
    endpoint.identity = identity;
    endpoint.addresses = addresses.map((text) => addressKey(parseAddress(text)));
    for (const address of endpoint.addresses) this.#byAddress.set(address, endpoint);
    this.#policies.replace(id, rules);
  }

  #remove(id: number): void {
    const endpoint = this.#byId.get(id);
    if (endpoint === undefined) return;
    this.#byId.delete(id);
    this.#forgetAddresses(endpoint);
    this.#policies.remove(id);
  }

  /** An address that has already become another endpoint's stays that one's. */
  #forgetAddresses(endpoint: ProxyEndpoint): void {
    for (const address of endpoint.addresses) {
      if (this.#byAddress.get(address) === endpoint) this.#byAddress.delete(address);
    }
  }
}
