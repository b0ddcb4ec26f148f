/** Routes as rtnetlink messages: linux/rtnetlink.h. */
import {
  formatRoute,
  formatRouteAttrs,
  parseRoute,
  parseRouteAttrs,
  RouteProtocol,
  RouteScope,
  RouteType,
  type RouteAttrs,
} from 'netlink/dist/rt/gen_structs.js';
import { type Address, type Cidr, formatCidr } from '../model/address.ts';
import { type IfIndex, ifIndex } from '../model/endpoint.ts';
import { addressFamily, addressFrom, familyOf } from './address-family.ts';
import { type NetlinkRequest, NLM_F } from './netlink.ts';
import { messageBody, RTM, u32 } from './rtnl-message.ts';

/** The table of ordinary routes. */
export const MAIN_TABLE = 254;

const TYPES = {
  unicast: RouteType.UNICAST,
  local: RouteType.LOCAL,
  blackhole: RouteType.BLACKHOLE,
  unreachable: RouteType.UNREACHABLE,
} as const;

/** What becomes of a packet: sent on, delivered to this host, dropped in silence, or refused with ICMP. */
export type RouteKind = keyof typeof TYPES;

export interface Route {
  /** Where to; length 0 is the default route. */
  readonly destination: Cidr;
  readonly kind?: RouteKind;
  /** Out of this link; required without a gateway, but for blackhole and unreachable. */
  readonly index?: IfIndex;
  readonly gateway?: Address;
  /** {@link MAIN_TABLE} when absent. */
  readonly table?: number;
  /** Lower wins; the kernel's choice when absent (0 for IPv4, 1024 for IPv6). */
  readonly metric?: number;
  /** Bytes; the link's when absent. */
  readonly mtu?: number;
  /** The address that this host's own packets leave with. */
  readonly source?: Address;
}

/** Adds a route, or replaces the one with the same destination, metric and table. */
export function setRoute(route: Route): NetlinkRequest {
  const body = routeBody(route, scopeOf(route), RouteProtocol.STATIC);
  return { type: RTM.NEWROUTE, flags: NLM_F.CREATE | NLM_F.REPLACE, body, operation: `set ${routeText(route)}` };
}

/** Deletes the route that has what is given of it. */
export function deleteRoute(route: Route): NetlinkRequest {
  // The kernel compares a scope and a protocol only when they are given; "nowhere" is how not to give a scope.
  const body = routeBody(route, RouteScope.NOWHERE, undefined);
  return { type: RTM.DELROUTE, flags: 0, body, operation: `delete ${routeText(route)}` };
}

/** IPv4 wants to know how far a destination is: on this host, on the link, or beyond a gateway. IPv6 does not ask. */
function scopeOf({ kind = 'unicast', gateway, destination }: Route): RouteScope {
  if (destination.address.family === 6) return RouteScope.UNIVERSE;
  if (kind === 'local') return RouteScope.HOST;
  return kind === 'unicast' && gateway === undefined ? RouteScope.LINK : RouteScope.UNIVERSE;
}

function routeBody(route: Route, scope: RouteScope, protocol: RouteProtocol | undefined): Uint8Array {
  const { address, length } = route.destination;
  const attributes: RouteAttrs = { table: route.table ?? MAIN_TABLE };
  if (length > 0) attributes.dst = Buffer.from(address.bytes);
  if (route.index !== undefined) attributes.oif = route.index;
  if (route.gateway !== undefined) attributes.gateway = Buffer.from(route.gateway.bytes);
  if (route.metric !== undefined) attributes.priority = route.metric;
  if (route.mtu !== undefined) attributes.metrics = { mtu: u32(route.mtu) };
  if (route.source !== undefined) attributes.prefsrc = Buffer.from(route.source.bytes);
  const type = TYPES[route.kind ?? 'unicast'];
  const header = { family: addressFamily(address.family), dstLen: length, scope, type };
  return messageBody(
    formatRoute(protocol === undefined ? header : { ...header, protocol }),
    formatRouteAttrs(attributes),
  );
}

function routeText({ destination, kind = 'unicast', index }: Route): string {
  return `${kind} route to ${formatCidr(destination)}${index === undefined ? '' : ` by link ${index}`}`;
}

/** Asks for the routes of a family in a table; a dump. */
export function getRoutes(family: Address['family'], table: number = MAIN_TABLE): NetlinkRequest {
  const body = messageBody(formatRoute({ family: addressFamily(family) }), formatRouteAttrs({ table }));
  return { type: RTM.GETROUTE, flags: 0, body, operation: `list routes of table ${table}` };
}

const ROUTE_HEADER = 12;

/** Reads an RTM_NEWROUTE body; undefined for what {@link Route} cannot express (multicast, broadcast …). */
export function parseRouteMessage(body: Buffer): Route | undefined {
  const header = parseRoute(body.subarray(0, ROUTE_HEADER));
  const attributes = parseRouteAttrs(body.subarray(ROUTE_HEADER));
  const family = familyOf(header.family);
  const type = typeof header.type === 'string' ? RouteType[header.type] : header.type;
  const kind = (Object.keys(TYPES) as RouteKind[]).find((name) => TYPES[name] === type);
  if (family === undefined || kind === undefined) return undefined;
  const { dst, oif, gateway, priority, prefsrc, table, metrics } = attributes;
  return {
    destination: {
      address: addressFrom(family, dst ?? new Uint8Array(family === 4 ? 4 : 16)),
      length: header.dstLen ?? 0,
    },
    kind,
    ...(oif === undefined ? {} : { index: ifIndex(oif) }),
    ...(gateway === undefined ? {} : { gateway: addressFrom(family, gateway) }),
    ...(priority === undefined ? {} : { metric: priority }),
    ...(metrics?.mtu === undefined ? {} : { mtu: metrics.mtu.readUInt32LE() }),
    ...(prefsrc === undefined ? {} : { source: addressFrom(family, prefsrc) }),
    table: table ?? header.table ?? MAIN_TABLE,
  };
}
