import { formatAddress, type Address, type Cidr } from '../model/address.ts';
import { WeirError } from '../model/errors.ts';
import { AddressPool } from './pool.ts';

/** Addresses of one endpoint; a family that the node does not serve is absent. */
export interface Addressing {
  readonly ipv4?: Address;
  readonly ipv6?: Address;
}

/** The addresses of an {@link Addressing}, IPv4 first. */
export function addressesOf({ ipv4, ipv6 }: Addressing): Address[] {
  return [ipv4, ipv6].filter((address) => address !== undefined);
}

/** Host-scope address management: this node gives out the addresses of its own pod CIDRs. */
export class Ipam {
  readonly ipv4: AddressPool | undefined;
  readonly ipv6: AddressPool | undefined;

  /** @throws WeirError CONFIG_INVALID */
  constructor(cidrs: { readonly ipv4?: Cidr; readonly ipv6?: Cidr }) {
    this.ipv4 = cidrs.ipv4 && new AddressPool(cidrs.ipv4);
    this.ipv6 = cidrs.ipv6 && new AddressPool(cidrs.ipv6);
  }

  /**
   * One address of each family served, or of `family` alone.
   *
   * @throws WeirError IPAM_EXHAUSTED; nothing is taken then. IPAM_OUT_OF_RANGE when the family is not served.
   */
  allocateNext(owner: string, family?: 4 | 6): Addressing {
    const ipv4 = family === 6 ? undefined : this.ipv4?.allocateNext(owner);
    try {
      const ipv6 = family === 4 ? undefined : this.ipv6?.allocateNext(owner);
      if (ipv4 === undefined && ipv6 === undefined) throw notServed(family);
      return { ...(ipv4 && { ipv4 }), ...(ipv6 && { ipv6 }) };
    } catch (error) {
      if (ipv4 !== undefined) this.release(ipv4);
      throw error;
    }
  }

  /** @throws WeirError IPAM_OUT_OF_RANGE, IPAM_IN_USE */
  allocate(address: Address, owner: string): void {
    const pool = this.#pool(address);
    if (pool === undefined) throw notServed(address.family);
    pool.allocate(address, owner);
  }

  /** Gives an address back; false when nobody had it. */
  release(address: Address): boolean {
    return this.#pool(address)?.release(address) ?? false;
  }

  /** Whether the address lies in a range of this node. */
  serves(address: Address): boolean {
    return this.#pool(address)?.contains(address) ?? false;
  }

  ownerOf(address: Address): string | undefined {
    return this.#pool(address)?.ownerOf(address);
  }

  /** Router addresses, IPv4 first. */
  get routers(): Addressing {
    return { ...(this.ipv4 && { ipv4: this.ipv4.router }), ...(this.ipv6 && { ipv6: this.ipv6.router }) };
  }

  /** Address → owner of all that is given out. */
  allocations(): Record<string, string> {
    const all = [this.ipv4, this.ipv6].flatMap((pool) => pool?.list() ?? []);
    return Object.fromEntries(all.map(({ address, owner }) => [formatAddress(address), owner]));
  }

  #pool(address: Address): AddressPool | undefined {
    return address.family === 4 ? this.ipv4 : this.ipv6;
  }
}

function notServed(family: 4 | 6 | undefined): WeirError {
  const what = family === undefined ? 'pods have no address range' : `IPv${family} is not served`;
  return new WeirError('IPAM_OUT_OF_RANGE', `${what} on this node`, {
    remedy: 'give the node a pod CIDR of that family',
  });
}
