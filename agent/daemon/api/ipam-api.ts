import { randomUUID } from 'node:crypto';
import type * as models from '../../api/models.ts';
import type { IpamApi } from '../../api/server/contract.ts';
import type { EndpointIndex } from '../../endpoint/table.ts';
import { addressesOf, type Ipam } from '../../ipam/ipam.ts';
import type { AddressPool } from '../../ipam/pool.ts';
import { formatAddress, formatCidr, parseAddress, type Address } from '../../model/address.ts';
import type { Clock } from '../../model/clock.ts';
import { WeirError } from '../../model/errors.ts';
import { addressPair, nodeAddressing } from './endpoint-model.ts';

/** How long an address that nobody took up stays allocated, when the caller asked for that. */
const EXPIRATION_MS = 10 * 60_000;

/** Addresses as the API gives them to those who are not endpoints, or not yet. */
export class IpamApiAdapter implements IpamApi {
  readonly #ipam: Ipam;
  readonly #endpoints: EndpointIndex;
  readonly #clock: Clock;

  constructor(ipam: Ipam, endpoints: EndpointIndex, clock: Clock) {
    this.#ipam = ipam;
    this.#endpoints = endpoints;
    this.#clock = clock;
  }

  allocateNext(options: Parameters<IpamApi['allocateNext']>[0]): models.IPAMResponse {
    const { owner = 'unknown', expires } = options;
    const family = options.family === undefined ? undefined : options.family === 'ipv4' ? 4 : 6;
    const addressing = this.#ipam.allocateNext(owner, family);
    const uuid = expires ? randomUUID() : undefined;
    if (expires) this.#expire(addressesOf(addressing), owner);
    const element = (address: Address | undefined, pool: AddressPool | undefined): models.IPAMAddressResponse => ({
      ...(address && { ip: formatAddress(address) }),
      ...(pool && { gateway: formatAddress(pool.router), cidrs: [formatCidr(pool.cidr)] }),
      ...(uuid !== undefined && { 'expiration-uuid': uuid }),
    });
    return {
      address: addressPair(addressing),
      ...(addressing.ipv4 && { ipv4: element(addressing.ipv4, this.#ipam.ipv4) }),
      ...(addressing.ipv6 && { ipv6: element(addressing.ipv6, this.#ipam.ipv6) }),
      'host-addressing': nodeAddressing(this.#ipam),
    };
  }

  allocate(ip: string, owner = 'unknown'): void {
    this.#ipam.allocate(parseAddress(ip), owner);
  }

  release(ip: string): void {
    const address = parseAddress(ip);
    const endpoint = this.#endpoints.byAddress(address);
    if (endpoint !== undefined) {
      throw new WeirError('IPAM_IN_USE', `belongs to ${endpoint.title}`, {
        object: `address ${ip}`,
        remedy: 'delete the endpoint',
      });
    }
    if (this.#ipam.release(address)) return;
    throw new WeirError('ADDRESS_NOT_FOUND', 'is not allocated', { object: `address ${ip}` });
  }

  /** An address that has become an endpoint's meanwhile is not taken from it. */
  #expire(addresses: readonly Address[], owner: string): void {
    this.#clock.after(EXPIRATION_MS, () => {
      for (const address of addresses) {
        if (this.#endpoints.byAddress(address) === undefined && this.#ipam.ownerOf(address) === owner) {
          this.#ipam.release(address);
        }
      }
    });
  }
}
