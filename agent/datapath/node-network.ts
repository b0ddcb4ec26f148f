import { formatAddress, type Address, type Cidr } from '../model/address.ts';
import type { Routing } from '../model/datapath.ts';
import type { IfIndex } from '../model/endpoint.ts';
import { WeirError } from '../model/errors.ts';
import type { Mac } from '../model/mac.ts';
import { ERRNO, isErrno } from '../kernel/errno.ts';
import { Rtnetlink } from '../kernel/rtnetlink.ts';
import { addAddress, deleteAddress } from '../kernel/rtnl-address.ts';
import { changeLink, createVeth, type Link } from '../kernel/rtnl-link.ts';
import { deleteRoute, setRoute, type Route } from '../kernel/rtnl-route.ts';
import { podMtu, setUpTunnel, TUNNEL_DEVICE } from './tunnel-device.ts';
import { isNodeRoute } from './node-routes.ts';
import { readSysctl, writeSysctl, type SysctlName } from '../kernel/sysctl.ts';
import { forgetProxyRouting, routeToProxies } from './proxy-routing.ts';

/** The pair of devices that is the node's side of the pod network; the first carries the routers' addresses. */
const HOST_DEVICE = 'weir_host';
const NET_DEVICE = 'weir_net';

export interface NodeNetworkOptions {
  /** The pods' gateways. */
  readonly routers: readonly Address[];
  readonly podCidrs: readonly Cidr[];
  /** Interfaces to the network; empty: those of the default routes. */
  readonly devices: readonly string[];
  /** Of the network, in bytes; absent: the smallest of the devices'. */
  readonly mtu?: number;
  readonly routing: Routing;
}

/** What stands after {@link setUpNode}. */
export interface NodeNetwork {
  readonly host: { readonly index: IfIndex; readonly mac: Mac };
  readonly devices: readonly Link[];
  /** Of pods, in bytes. */
  readonly mtu: number;
  /** Interface index of the tunnel's device; undefined where packets are routed. */
  readonly tunnel: IfIndex | undefined;
}

const DEFAULT_MTU = 1500;

/**
 * Makes the agent's network namespace a router for pods: `weir_host`, forwarding, and a route that refuses what goes to
 * pod addresses nobody has. Idempotent.
 *
 * @throws WeirError CONFIG_INVALID for a device that does not exist, or is no Ethernet; KernelError
 */
export function setUpNode(options: NodeNetworkOptions): NodeNetwork {
  using links = Rtnetlink.open();
  const devices = networkDevices(links, options.devices);
  const networkMtu = options.mtu ?? Math.min(DEFAULT_MTU, ...devices.map((device) => device.mtu));
  const families = new Set(options.podCidrs.map(({ address }) => address.family));
  const mtu = podMtu(networkMtu, options.routing, families);
  setUpForwarding(
    devices.map(({ name }) => name),
    families,
  );
  if (options.routing.mode === 'tunnel') devices.forEach(({ name }) => letPodsInBy(name));
  routeToProxies(links, families);
  const tunnel = setUpTunnel(links, options.routing, mtu);
  const host = hostDevice(links, mtu);
  const wanted = options.routers.map((address) => ({
    index: host.index,
    address,
    prefixLength: address.bytes.length * 8,
  }));
  const kept = new Set(options.routers.map(formatAddress));
  for (const address of links.addresses(host.index)) {
    if (!kept.has(formatAddress(address.address)) && address.prefixLength === address.address.bytes.length * 8) {
      links.remove(deleteAddress(address));
    }
  }
  links.apply(
    ...wanted.map((address) => addAddress(address)),
    ...options.podCidrs.map((cidr) => setRoute(refusal(cidr))),
  );
  return { host: { index: host.index, mac: host.mac! }, devices, mtu, tunnel };
}

/** Takes away what {@link setUpNode} made; forwarding stays on, for others may have come to need it. */
export async function tearDownNode(): Promise<void> {
  using links = Rtnetlink.open();
  await links.removeLink(HOST_DEVICE);
  await links.removeLink(TUNNEL_DEVICE);
  forgetProxyRouting(links);
  for (const family of [4, 6] as const) {
    for (const route of links.routes(family)) {
      if (isRefusal(route) || isNodeRoute(route)) links.remove(deleteRoute(route));
    }
  }
}

/** Higher than what anybody else gives a route, so that it can be recognised and never hides another. */
const REFUSAL_METRIC = 0xfffe;

function refusal(destination: Cidr): Route {
  return { destination, kind: 'unreachable', metric: REFUSAL_METRIC };
}

function isRefusal({ kind, metric }: Route): boolean {
  return kind === 'unreachable' && metric === REFUSAL_METRIC;
}

function hostDevice(links: Rtnetlink, mtu: number): Link {
  let host = links.link(HOST_DEVICE);
  if (host === undefined) {
    links.apply(createVeth({ name: HOST_DEVICE, mtu, up: false, peer: { name: NET_DEVICE } }));
    // No link-local addresses: nothing but the routers is to be found here.
    for (const name of [HOST_DEVICE, NET_DEVICE]) writeIfThere(`ipv6/conf/${name}/addr_gen_mode`, 1);
    host = links.link(HOST_DEVICE)!;
  }
  const net = links.link(NET_DEVICE);
  if (net === undefined) {
    throw new WeirError('NETLINK_FAILED', `${HOST_DEVICE} exists, but its peer ${NET_DEVICE} does not`, {
      object: `link ${HOST_DEVICE}`,
      remedy: `delete ${HOST_DEVICE} and start the agent again`,
    });
  }
  // Nobody answers on the other end: what is routed here is for the programs.
  for (const { index } of [host, net]) links.apply(changeLink(index, { up: true, mtu, noArp: true }));
  return host;
}

function networkDevices(links: Rtnetlink, names: readonly string[]): readonly Link[] {
  const devices = namedOrDefault(links, names);
  const other = devices.find(({ ethernet }) => !ethernet);
  if (other === undefined) return devices;
  // Programs read Ethernet headers: elsewhere they would take what the sender likes for an address.
  throw new WeirError('CONFIG_INVALID', `the network interface ${other.name} has no Ethernet headers`, {
    field: '--devices',
    remedy: 'name the interfaces to the network that have, with --devices',
  });
}

function namedOrDefault(links: Rtnetlink, names: readonly string[]): readonly Link[] {
  if (names.length === 0) {
    const indexes = new Set(
      ([4, 6] as const).flatMap((family) =>
        links
          .routes(family)
          .filter(({ destination, kind }) => destination.length === 0 && kind === 'unicast')
          .map(({ index }) => index),
      ),
    );
    return links.links().filter(({ index }) => indexes.has(index));
  }
  return names.map((name) => {
    const device = links.link(name);
    if (device !== undefined) return device;
    throw new WeirError('CONFIG_INVALID', `there is no network interface ${name}`, { field: '--devices' });
  });
}

function setUpForwarding(devices: readonly string[], families: ReadonlySet<4 | 6>): void {
  if (families.has(6)) {
    // A router ignores router advertisements unless told otherwise: the node must not lose its own default route.
    for (const device of devices) {
      if (readIfThere(`ipv6/conf/${device}/accept_ra`) === '1') writeSysctl(`ipv6/conf/${device}/accept_ra`, 2);
    }
    writeSysctl('ipv6/conf/all/forwarding', 1);
  }
  if (families.has(4)) writeSysctl('ipv4/conf/all/forwarding', 1);
  // For pods' links: the datapath has checked the source address, and by a better rule than the routing table.
  writeSysctl('ipv4/conf/default/rp_filter', 0);
}

/**
 * A pod speaks to another node's host by the network, whose answer goes through the tunnel: to strict reverse-path filtering
 * such a packet has come by the wrong way. The loose kind asks only whether there is one; of a device's setting and that for
 * all, the higher number holds.
 */
function letPodsInBy(device: string): void {
  const [own, all] = [device, 'all'].map((name) => readIfThere(`ipv4/conf/${name}/rp_filter`));
  if (own !== '2' && (own === '1' || all === '1')) writeSysctl(`ipv4/conf/${device}/rp_filter`, 2);
}

function readIfThere(name: SysctlName): string | undefined {
  try {
    return readSysctl(name);
  } catch (error) {
    if (isErrno(error, ERRNO.ENOENT)) return undefined;
    throw error;
  }
}

/** A kernel without IPv6 has none of its settings, nor its addresses. */
function writeIfThere(name: SysctlName, value: number): void {
  if (readIfThere(name) !== undefined) writeSysctl(name, value);
}
