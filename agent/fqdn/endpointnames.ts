/** What one endpoint has learned: leases until their TTL ends, and after that zombies while connections live (S31). */
import type { Address } from '../model/address.ts';
import type { AddressRecord, Links, NameRecord } from './links.ts';

/** An address that no lease covers any more, but that a live connection may still use. */
export interface Zombie {
  readonly names: Set<NameRecord>;
  /** When its last lease ended, in milliseconds. */
  ended: number;
  /** Beginning of the last conntrack collection that saw it, in milliseconds; undefined when none has. */
  seen: number | undefined;
}

export interface NameLimits {
  /** Leases of one name of an endpoint; beyond, those that end first become zombies. */
  readonly addressesPerName: number;
  /** Leases of an endpoint. */
  readonly addressesPerEndpoint: number;
  /** Zombies of an endpoint; beyond, those that were never seen alive go first, then the earliest. */
  readonly zombiesPerEndpoint: number;
  /** How long an address that was seen alive counts as alive after that, in milliseconds. */
  readonly idleGraceMs: number;
}

/** What is put away in advance when a limit is met, so that the cost of choosing is shared by many answers. */
const SLACK = 1 / 16;

export class EndpointNames {
  /** When each lease ends, in whole seconds since the epoch. */
  readonly leases = new Map<NameRecord, Map<AddressRecord, number>>();
  readonly zombies = new Map<AddressRecord, Zombie>();
  readonly #links: Links;
  readonly #limits: NameLimits;
  #count = 0;

  constructor(links: Links, limits: NameLimits) {
    this.#links = links;
    this.#limits = limits;
  }

  /** How many leases there are: addresses, each as often as names have it. */
  get leaseCount(): number {
    return this.#count;
  }

  /** Leases the addresses to the name; a lease is never shortened. */
  lease(name: NameRecord, addresses: readonly Address[], until: number, now: number): void {
    const leases = this.leases.get(name) ?? new Map<AddressRecord, number>();
    this.leases.set(name, leases);
    for (const each of addresses) {
      const address = this.#links.address(each);
      const present = leases.get(address);
      if (present === undefined) {
        this.#count++;
        if (!this.#revive(name, address)) this.#links.hold(name, address);
      }
      leases.set(address, Math.max(until, present ?? 0));
    }
    const { addressesPerName, addressesPerEndpoint, zombiesPerEndpoint } = this.#limits;
    if (leases.size > addressesPerName) this.#shrink([[name, leases]], addressesPerName, now);
    if (this.#count > addressesPerEndpoint) this.#shrink([...this.leases], addressesPerEndpoint, now);
    // The few above the limit itself go with the next `expire`.
    if (this.zombies.size > zombiesPerEndpoint * (1 + SLACK)) this.#trimZombies();
  }

  /** Leases for which `over` holds become zombies. */
  expire(over: (name: NameRecord, until: number) => boolean, now: number): void {
    for (const [name, leases] of this.leases) {
      for (const [address, until] of leases) if (over(name, until)) this.#end(name, address, now);
    }
    this.#trimZombies();
  }

  /** Keeps what a conntrack collection begun at `at` saw alive; what it should have seen and did not is gone (S31). */
  collected(at: number, alive: (address: AddressRecord) => boolean): void {
    for (const [address, zombie] of this.zombies) {
      if (alive(address)) zombie.seen = Math.max(at, zombie.seen ?? 0);
      else if (at > zombie.ended && at > (zombie.seen ?? -Infinity) + this.#limits.idleGraceMs) {
        this.#bury(address, zombie);
      }
    }
  }

  /** Puts a zombie back after a restart, as one that ended `now`. */
  restoreZombie(name: NameRecord, address: AddressRecord, now: number): void {
    if (this.leases.get(name)?.has(address) === true) return;
    const { names } = this.#zombie(address, now);
    if (names.has(name)) return;
    names.add(name);
    this.#links.hold(name, address);
  }

  /** Lets go of everything: the endpoint is no more. */
  clear(): void {
    for (const [name, leases] of this.leases) for (const address of leases.keys()) this.#links.release(name, address);
    this.leases.clear();
    this.#count = 0;
    for (const [address, zombie] of this.zombies) this.#bury(address, zombie);
  }

  /** Ends the leases that would end first, until `limit` and a little less are left. */
  #shrink(from: readonly (readonly [NameRecord, Map<AddressRecord, number>])[], limit: number, now: number): void {
    const all = from.flatMap(([name, leases]) => [...leases].map(([address, until]) => ({ name, address, until })));
    all.sort((a, b) => a.until - b.until);
    const kept = limit - Math.floor(limit * SLACK);
    for (const { name, address } of all.slice(0, all.length - kept)) this.#end(name, address, now);
  }

  /** A lease becomes a zombie, which holds the link from then on. */
  #end(name: NameRecord, address: AddressRecord, now: number): void {
    const leases = this.leases.get(name);
    if (leases?.delete(address) !== true) return;
    this.#count--;
    if (leases.size === 0) this.leases.delete(name);
    const zombie = this.#zombie(address, now);
    zombie.names.add(name);
    zombie.ended = Math.max(zombie.ended, now);
  }

  #zombie(address: AddressRecord, ended: number): Zombie {
    const zombie = this.zombies.get(address) ?? { names: new Set(), ended, seen: undefined };
    this.zombies.set(address, zombie);
    return zombie;
  }

  /** Takes a name's zombie back into a lease; false when there is none. */
  #revive(name: NameRecord, address: AddressRecord): boolean {
    const zombie = this.zombies.get(address);
    if (zombie?.names.delete(name) !== true) return false;
    if (zombie.names.size === 0) this.zombies.delete(address);
    return true;
  }

  #bury(address: AddressRecord, { names }: Zombie): void {
    this.zombies.delete(address);
    for (const name of names) this.#links.release(name, address);
  }

  /** Keeps the limit: never seen alive first, then the earliest (S31). */
  #trimZombies(): void {
    const excess = this.zombies.size - this.#limits.zombiesPerEndpoint;
    if (excess <= 0) return;
    const order = ({ seen, ended }: Zombie): number => (seen === undefined ? ended - 1e15 : Math.max(seen, ended));
    const sorted = [...this.zombies].sort(([, a], [, b]) => order(a) - order(b));
    for (const [address, zombie] of sorted.slice(0, excess)) this.#bury(address, zombie);
  }
}
