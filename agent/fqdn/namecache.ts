/**
 * What the node's endpoints have learned from DNS, and what policies make of it. Every call that can change which
 * selectors an address has returns exactly those changes: nothing new means that an answer need not wait.
 */
import type { Address } from '../model/address.ts';
import type { Clock } from '../model/clock.ts';
import type { EndpointId } from '../model/endpoint.ts';
import { EndpointNames, type NameLimits } from './endpointnames.ts';
import { Links, type AddressChange, type Admission } from './links.ts';
import type { NameSelector } from './nameselectors.ts';

export interface NameCacheOptions {
  readonly clock: Pick<Clock, 'now'>;
  /** Seconds that an address is kept at least, whatever its TTL (S30). */
  readonly minTtl: number;
  readonly limits: NameLimits;
  /** Keeps addresses that are not the world's from ever having selectors (S22). Asked again by `reconsider`. */
  readonly admits: Admission;
}

export const DEFAULT_NAME_LIMITS: NameLimits = {
  addressesPerName: 1000,
  addressesPerEndpoint: 50_000,
  zombiesPerEndpoint: 10_000,
  idleGraceMs: 0,
};

/** One address of one name of one endpoint. */
export interface CacheEntry {
  readonly endpoint: EndpointId;
  readonly name: string;
  readonly address: Address;
  /** Milliseconds since the epoch: when a lease ends, or ended. */
  readonly until: number;
  /** Kept only for the sake of live connections. */
  readonly zombie: boolean;
}

/** How much one endpoint holds. */
export interface Holding {
  readonly endpoint: EndpointId;
  /** Names with leases. */
  readonly names: number;
  /** Leases. */
  readonly addresses: number;
  /** Addresses kept only for the sake of live connections. */
  readonly zombies: number;
}

export class NameCache {
  readonly #options: NameCacheOptions;
  readonly #links: Links;
  readonly #endpoints = new Map<EndpointId, EndpointNames>();

  constructor(options: NameCacheOptions) {
    this.#options = options;
    this.#links = new Links(options.admits);
  }

  /** Names and addresses that some endpoint holds. */
  get size(): { readonly names: number; readonly addresses: number } {
    return this.#links.size;
  }

  /** How much each endpoint holds. */
  *holdings(): Generator<Holding> {
    for (const [endpoint, { leases, leaseCount, zombies }] of this.#endpoints) {
      yield { endpoint, names: leases.size, addresses: leaseCount, zombies: zombies.size };
    }
  }

  /**
   * An answer that an endpoint is about to get: it may have it once the changes are in the kernel.
   *
   * @param name canonical
   * @param ttl seconds
   */
  learn(endpoint: EndpointId, name: string, addresses: readonly Address[], ttl: number): readonly AddressChange[] {
    if (addresses.length === 0) return [];
    this.#lease(endpoint, name, addresses, this.leaseEnd(ttl) / 1000, this.#options.clock.now());
    return this.#links.changes();
  }

  /** When a lease of `ttl` seconds that begins now would end, in milliseconds (S30). */
  leaseEnd(ttl: number): number {
    const { clock, minTtl } = this.#options;
    return (Math.ceil(clock.now() / 1000) + Math.max(ttl, minTtl)) * 1000;
  }

  /** Makes leases that have ended zombies. Whatever else happens, this is to be called now and then. */
  expire(): readonly AddressChange[] {
    const now = this.#options.clock.now();
    for (const names of this.#endpoints.values()) names.expire((_name, until) => until * 1000 <= now, now);
    return this.#links.changes();
  }

  /**
   * What a conntrack collection found: `alive` says whether an endpoint has a live connection to an address.
   *
   * @param at when the collection began, in milliseconds: what ended later is not its to judge (S31)
   */
  collected(at: number, alive: (endpoint: EndpointId, address: Address) => boolean): readonly AddressChange[] {
    for (const [endpoint, names] of this.#endpoints) {
      names.collected(at, ({ address }) => alive(endpoint, address));
      this.#dropEmpty(endpoint, names);
    }
    return this.#links.changes();
  }

  /** Makes these the selectors of names that policies use (`PolicyEngine.demand`). */
  select(selectors: readonly NameSelector[]): readonly AddressChange[] {
    this.#links.select(selectors);
    return this.#links.changes();
  }

  /** Asks again whether the address may have selectors: it became an endpoint's, or is one's no more. */
  reconsider(address: Address): readonly AddressChange[] {
    this.#links.reconsider(address);
    return this.#links.changes();
  }

  /** As {@link reconsider}, for every address. */
  reconsiderAll(): readonly AddressChange[] {
    this.#links.reconsiderAll();
    return this.#links.changes();
  }

  /** Ends leases before their time, of one endpoint or all, of names that match or all; live connections go on. */
  clean(only: {
    readonly endpoint?: EndpointId;
    readonly matches?: (name: string) => boolean;
  }): readonly AddressChange[] {
    const now = this.#options.clock.now();
    for (const [endpoint, names] of this.#endpoints) {
      if (only.endpoint !== undefined && only.endpoint !== endpoint) continue;
      names.expire(({ name }) => only.matches?.(name) ?? true, now);
    }
    return this.#links.changes();
  }

  removeEndpoint(endpoint: EndpointId): readonly AddressChange[] {
    this.#endpoints.get(endpoint)?.clear();
    this.#endpoints.delete(endpoint);
    return this.#links.changes();
  }

  /** Everything, as it is: for people, and for the copy on disk. */
  *entries(): Generator<CacheEntry> {
    for (const [endpoint, { leases, zombies }] of this.#endpoints) {
      for (const [{ name }, addresses] of leases) {
        for (const [{ address }, until] of addresses) {
          yield { endpoint, name, address, until: until * 1000, zombie: false };
        }
      }
      for (const [{ address }, { names, ended }] of zombies) {
        for (const { name } of names) yield { endpoint, name, address, until: ended, zombie: true };
      }
    }
  }

  /** Addresses that an endpoint keeps for the sake of live connections alone; one may come several times. */
  *zombies(): Generator<Address> {
    for (const { zombies } of this.#endpoints.values()) for (const { address } of zombies.keys()) yield address;
  }

  /**
   * Puts entries back after a restart; leases that ended meanwhile are zombies after the next {@link expire}. A zombie
   * counts as never seen: it has until the first conntrack collection after now.
   */
  restore(entries: Iterable<CacheEntry>): readonly AddressChange[] {
    const now = this.#options.clock.now();
    for (const { endpoint, name, address, until, zombie } of entries) {
      if (zombie) {
        this.#endpoint(endpoint).restoreZombie(this.#links.name(name), this.#links.address(address), now);
      } else this.#lease(endpoint, name, [address], Math.ceil(until / 1000), now);
    }
    return this.#links.changes();
  }

  #lease(endpoint: EndpointId, name: string, addresses: readonly Address[], until: number, now: number): void {
    this.#endpoint(endpoint).lease(this.#links.name(name), addresses, until, now);
  }

  #endpoint(endpoint: EndpointId): EndpointNames {
    const names = this.#endpoints.get(endpoint) ?? new EndpointNames(this.#links, this.#options.limits);
    this.#endpoints.set(endpoint, names);
    return names;
  }

  #dropEmpty(endpoint: EndpointId, { leases, zombies }: EndpointNames): void {
    if (leases.size === 0 && zombies.size === 0) this.#endpoints.delete(endpoint);
  }
}
