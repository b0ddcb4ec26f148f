/** Links (network devices) as rtnetlink messages: linux/if_link.h. */
import { formatLink, parseLink } from 'netlink/dist/rt/gen_structs.js';
import { parseAttributes } from 'netlink/dist/structs.js';
import { type IfIndex, ifIndex } from '../model/endpoint.ts';
import type { Mac } from '../model/mac.ts';
import { readCString } from './memory.ts';
import { type NetlinkRequest, NLM_F } from './netlink.ts';
import { attribute, messageBody, nested, RTM } from './rtnl-message.ts';

/** A network device. */
export interface Link {
  readonly index: IfIndex;
  readonly name: string;
  /** Whether packets on it have Ethernet headers (ARPHRD_ETHER); those of tunnels may begin with IP. */
  readonly ethernet: boolean;
  /** Absent for devices without hardware addresses, such as tunnels. */
  readonly mac: Mac | undefined;
  readonly mtu: number;
  /** Switched on by the administrator (IFF_UP). */
  readonly up: boolean;
  /** On, and its other end too (IFF_LOWER_UP). */
  readonly carrier: boolean;
  /** `veth`, `vxlan` …; undefined for hardware and loopback. */
  readonly kind: string | undefined;
  /** Index of the peer of a veth, in the peer's namespace. */
  readonly peerIndex: IfIndex | undefined;
  /** UDP port of a VXLAN device. */
  readonly vxlanPort: number | undefined;
}

const IFLA = {
  ADDRESS: 1,
  IFNAME: 3,
  MTU: 4,
  LINK: 5,
  LINKINFO: 18,
  NET_NS_FD: 28,
  EXT_MASK: 29,
  TXQLEN: 13,
} as const;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const VETH_INFO_PEER = 1;
const IFLA_VXLAN = { LEARNING: 7, PORT: 15, COLLECT_METADATA: 25 } as const;
/** Leaves the counters out of the answer. */
const RTEXT_FILTER_SKIP_STATS = 8;

/** One end of a veth pair. */
export interface VethEnd {
  readonly name: string;
  /** The kernel's choice when absent. */
  readonly mac?: Mac;
}

export interface VethSpec extends VethEnd {
  readonly mtu: number;
  /** The other end, created straight in the namespace of `netnsFd`; down, for the kernel takes no IFF_UP for it here. */
  readonly peer: VethEnd & { readonly netnsFd?: number };
  /** Switch this end on; true when absent. */
  readonly up?: boolean;
}

/** Creates both ends of a veth pair; EEXIST when either name is taken. */
export function createVeth({ name, mac, mtu, peer, up = true }: VethSpec): NetlinkRequest {
  const peerBody = [formatLink({}), ...ends(peer, mtu)];
  if (peer.netnsFd !== undefined) peerBody.push(attribute(IFLA.NET_NS_FD, peer.netnsFd));
  const body = messageBody(
    formatLink(up ? { flags: { up: true }, change: { up: true } } : {}),
    ...ends({ name, ...(mac === undefined ? {} : { mac }) }, mtu),
    linkInfo('veth', nested(VETH_INFO_PEER, ...peerBody)),
  );
  const operation = `create veth ${name} with peer ${peer.name}`;
  return { type: RTM.NEWLINK, flags: NLM_F.CREATE | NLM_F.EXCL, body, operation };
}

function ends({ name, mac }: VethEnd, mtu: number): ReturnType<typeof attribute>[] {
  const attributes = [attribute(IFLA.IFNAME, name), attribute(IFLA.MTU, mtu)];
  if (mac !== undefined) attributes.push(attribute(IFLA.ADDRESS, mac));
  return attributes;
}

function linkInfo(kind: string, ...data: ReturnType<typeof attribute>[]): ReturnType<typeof attribute> {
  return nested(IFLA.LINKINFO, attribute(IFLA_INFO_KIND, kind), nested(IFLA_INFO_DATA, ...data));
}

/** Creates a VXLAN device whose tunnel keys BPF programs give and take (`external`), not bound to any device. */
export function createVxlan(spec: {
  readonly name: string;
  readonly port: number;
  readonly mtu?: number;
  /** Switch it on; true when absent. */
  readonly up?: boolean;
}): NetlinkRequest {
  const body = messageBody(
    formatLink(spec.up === false ? {} : { flags: { up: true }, change: { up: true } }),
    attribute(IFLA.IFNAME, spec.name),
    ...(spec.mtu === undefined ? [] : [attribute(IFLA.MTU, spec.mtu)]),
    linkInfo(
      'vxlan',
      attribute(IFLA_VXLAN.PORT, Uint8Array.of(spec.port >> 8, spec.port & 0xff)),
      attribute(IFLA_VXLAN.COLLECT_METADATA, Uint8Array.of(1)),
      attribute(IFLA_VXLAN.LEARNING, Uint8Array.of(0)),
    ),
  );
  return { type: RTM.NEWLINK, flags: NLM_F.CREATE | NLM_F.EXCL, body, operation: `create vxlan ${spec.name}` };
}

/** What may be changed of a link; absent stays as it is. */
export interface LinkChange {
  readonly up?: boolean;
  readonly mtu?: number;
  readonly mac?: Mac;
  /** Only while the link is down. */
  readonly name?: string;
  /** Whether neighbours are not asked for: all have the link's own address. */
  readonly noArp?: boolean;
  /** Moves the link to another namespace. */
  readonly netnsFd?: number;
}

export function changeLink(index: IfIndex, change: LinkChange): NetlinkRequest {
  const attributes = [];
  if (change.mtu !== undefined) attributes.push(attribute(IFLA.MTU, change.mtu));
  if (change.mac !== undefined) attributes.push(attribute(IFLA.ADDRESS, change.mac));
  if (change.name !== undefined) attributes.push(attribute(IFLA.IFNAME, change.name));
  if (change.netnsFd !== undefined) attributes.push(attribute(IFLA.NET_NS_FD, change.netnsFd));
  const { up, noArp } = change;
  const body = messageBody(
    formatLink({
      index,
      change: { ...(up !== undefined && { up: true }), ...(noArp !== undefined && { noarp: true }) },
      flags: { ...(up === true && { up: true }), ...(noArp === true && { noarp: true }) },
    }),
    ...attributes,
  );
  return { type: RTM.NEWLINK, flags: 0, body, operation: `change link ${index} (${Object.keys(change).join(', ')})` };
}

/** Deletes a link, and its veth peer with it: the kernel takes about 21 ms, so send it asynchronously. */
export function deleteLink(link: IfIndex | string): NetlinkRequest {
  const body =
    typeof link === 'string'
      ? messageBody(formatLink({}), attribute(IFLA.IFNAME, link))
      : messageBody(formatLink({ index: link }));
  return { type: RTM.DELLINK, flags: 0, body, operation: `delete link ${link}` };
}

/** Asks for one link, or, as a dump, for all. */
export function getLink(link?: IfIndex | string): NetlinkRequest {
  const attributes = [attribute(IFLA.EXT_MASK, RTEXT_FILTER_SKIP_STATS)];
  if (typeof link === 'string') attributes.push(attribute(IFLA.IFNAME, link));
  const body = messageBody(formatLink(typeof link === 'number' ? { index: link } : {}), ...attributes);
  return { type: RTM.GETLINK, flags: 0, body, operation: link === undefined ? 'list links' : `read link ${link}` };
}

const LINK_HEADER = 16;
/** `ifi_type` of struct ifinfomsg. */
const LINK_TYPE = { offset: 2, ethernet: 1 } as const;

/** Reads an RTM_NEWLINK body. */
export function parseLinkMessage(body: Buffer): Link {
  const header = parseLink(body.subarray(0, LINK_HEADER));
  const found: {
    name: string;
    mac?: Mac;
    mtu: number;
    kind?: string;
    peerIndex?: IfIndex;
    vxlanPort?: number | undefined;
  } = { name: '', mtu: 0 };
  parseAttributes(body.subarray(LINK_HEADER), ({ type, data }) => {
    if (type === IFLA.IFNAME) found.name = readCString(data);
    else if (type === IFLA.MTU) found.mtu = data.readUInt32LE();
    else if (type === IFLA.ADDRESS && data.length === 6) found.mac = Uint8Array.from(data) as Mac;
    else if (type === IFLA.LINK) found.peerIndex = ifIndex(data.readUInt32LE());
    else if (type === IFLA.LINKINFO) {
      parseAttributes(data, (info) => {
        if (info.type === IFLA_INFO_KIND) found.kind = readCString(info.data);
        else if (info.type === IFLA_INFO_DATA && found.kind === 'vxlan') found.vxlanPort = vxlanPort(info.data);
      });
    }
  });
  return {
    index: ifIndex(header.index ?? 0),
    name: found.name,
    ethernet: body.readUInt16LE(LINK_TYPE.offset) === LINK_TYPE.ethernet,
    mac: found.mac,
    mtu: found.mtu,
    up: header.flags?.up === true,
    carrier: header.flags?.lowerUp === true,
    kind: found.kind,
    peerIndex: found.peerIndex,
    vxlanPort: found.vxlanPort,
  };
}

function vxlanPort(data: Buffer): number | undefined {
  let port: number | undefined;
  parseAttributes(data, (item) => {
    if (item.type === IFLA_VXLAN.PORT) port = item.data.readUInt16BE();
  });
  return port;
}
