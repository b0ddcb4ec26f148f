/** Neighbours (ARP and NDP entries) as rtnetlink messages: linux/neighbour.h. */
import { formatNeighbor, formatNeighborAttrs, parseNeighbor, parseNeighborAttrs } from 'netlink/dist/rt/gen_structs.js';
import { type Address, formatAddress } from '../model/address.ts';
import { type IfIndex, ifIndex } from '../model/endpoint.ts';
import type { Mac } from '../model/mac.ts';
import { addressFamily, addressFrom, familyOf } from './address-family.ts';
import { type NetlinkRequest, NLM_F } from './netlink.ts';
import { messageBody, RTM } from './rtnl-message.ts';

/** Whose hardware address is whose. */
export interface Neighbour {
  readonly index: IfIndex;
  readonly address: Address;
  /** Undefined while it is being asked for, or did not answer. */
  readonly mac: Mac | undefined;
  /** Set by hand and never asked again. */
  readonly permanent: boolean;
}

/** Adds or replaces a permanent entry. */
export function setNeighbour(index: IfIndex, address: Address, mac: Mac): NetlinkRequest {
  const body = messageBody(
    formatNeighbor({ family: addressFamily(address.family), ifindex: index, state: { permanent: true } }),
    formatNeighborAttrs({ dst: Buffer.from(address.bytes), lladdr: Buffer.from(mac) }),
  );
  const operation = `set neighbour ${formatAddress(address)} on link ${index}`;
  return { type: RTM.NEWNEIGH, flags: NLM_F.CREATE | NLM_F.REPLACE, body, operation };
}

export function deleteNeighbour(index: IfIndex, address: Address): NetlinkRequest {
  const body = messageBody(
    formatNeighbor({ family: addressFamily(address.family), ifindex: index }),
    formatNeighborAttrs({ dst: Buffer.from(address.bytes) }),
  );
  const operation = `delete neighbour ${formatAddress(address)} of link ${index}`;
  return { type: RTM.DELNEIGH, flags: 0, body, operation };
}

/** Asks for the entries of all links; a dump. */
export function getNeighbours(): NetlinkRequest {
  return { type: RTM.GETNEIGH, flags: 0, body: messageBody(formatNeighbor({})), operation: 'list neighbours' };
}

const NEIGHBOUR_HEADER = 12;

/** Reads an RTM_NEWNEIGH body; undefined for families other than IP. */
export function parseNeighbourMessage(body: Buffer): Neighbour | undefined {
  const header = parseNeighbor(body.subarray(0, NEIGHBOUR_HEADER));
  const { dst, lladdr } = parseNeighborAttrs(body.subarray(NEIGHBOUR_HEADER));
  const family = familyOf(header.family);
  if (family === undefined || dst === undefined) return undefined;
  return {
    index: ifIndex(header.ifindex ?? 0),
    address: addressFrom(family, dst),
    mac: lladdr?.length === 6 ? (Uint8Array.from(lladdr) as Mac) : undefined,
    permanent: header.state?.permanent === true,
  };
}
