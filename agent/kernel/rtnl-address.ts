/** Addresses of links as rtnetlink messages: linux/if_addr.h. */
import { formatAddress, formatAddressAttrs, parseAddress, parseAddressAttrs } from 'netlink/dist/rt/gen_structs.js';
import { type Address, formatAddress as text } from '../model/address.ts';
import { type IfIndex, ifIndex } from '../model/endpoint.ts';
import { addressFamily, addressFrom, familyOf } from './address-family.ts';
import { type NetlinkRequest, NLM_F } from './netlink.ts';
import { messageBody, RTM } from './rtnl-message.ts';

/** An address of a link. */
export interface LinkAddress {
  readonly index: IfIndex;
  readonly address: Address;
  /** Bits of the network it lies in. */
  readonly prefixLength: number;
}

export interface AddAddressOptions {
  /** Add no route to the network of the address. */
  readonly noPrefixRoute?: boolean;
}

/**
 * Adds an address, or finds it there. An IPv6 address is usable at once: nobody else can have it, so duplicate address
 * detection is left out.
 */
export function addAddress(
  { index, address, prefixLength }: LinkAddress,
  { noPrefixRoute = false }: AddAddressOptions = {},
): NetlinkRequest {
  const bytes = Buffer.from(address.bytes);
  const body = messageBody(
    formatAddress({ family: addressFamily(address.family), prefixlen: prefixLength, index }),
    formatAddressAttrs({
      local: bytes,
      address: bytes,
      flags: { ...(address.family === 6 ? { nodad: true } : {}), ...(noPrefixRoute ? { noprefixroute: true } : {}) },
    }),
  );
  const operation = `add address ${text(address)}/${prefixLength} to link ${index}`;
  return { type: RTM.NEWADDR, flags: NLM_F.CREATE | NLM_F.REPLACE, body, operation };
}

export function deleteAddress({ index, address, prefixLength }: LinkAddress): NetlinkRequest {
  const bytes = Buffer.from(address.bytes);
  const body = messageBody(
    formatAddress({ family: addressFamily(address.family), prefixlen: prefixLength, index }),
    formatAddressAttrs({ local: bytes, address: bytes }),
  );
  const operation = `delete address ${text(address)}/${prefixLength} of link ${index}`;
  return { type: RTM.DELADDR, flags: 0, body, operation };
}

/** Asks for the addresses of a link, or of all; a dump. */
export function getAddresses(index?: IfIndex): NetlinkRequest {
  const body = messageBody(formatAddress(index === undefined ? {} : { index }));
  return { type: RTM.GETADDR, flags: 0, body, operation: 'list addresses' };
}

const ADDRESS_HEADER = 8;

/** Reads an RTM_NEWADDR body; undefined for families other than IP. */
export function parseAddressMessage(body: Buffer): LinkAddress | undefined {
  const header = parseAddress(body.subarray(0, ADDRESS_HEADER));
  const attributes = parseAddressAttrs(body.subarray(ADDRESS_HEADER));
  const family = familyOf(header.family);
  // `address` is the other end's on point-to-point links; `local` is always ours, but IPv6 sends it for those only.
  const bytes = attributes.local ?? attributes.address;
  if (family === undefined || bytes === undefined) return undefined;
  return {
    index: ifIndex(header.index ?? 0),
    address: addressFrom(family, bytes),
    prefixLength: header.prefixlen ?? 0,
  };
}
