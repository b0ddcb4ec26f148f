import { WeirError } from '../model/errors.ts';
import type { Routing } from '../model/datapath.ts';
import type { IfIndex } from '../model/endpoint.ts';
import { Rtnetlink } from '../kernel/rtnetlink.ts';
import { changeLink, createVxlan, deleteLink } from '../kernel/rtnl-link.ts';
import { writeSysctl } from '../kernel/sysctl.ts';

export const TUNNEL_DEVICE = 'weir_vxlan';

/** What a tunnel adds to a packet, in bytes: outer IP, UDP, VXLAN, inner Ethernet. */
const OVERHEAD = { 4: 20 + 8 + 8 + 14, 6: 40 + 8 + 8 + 14 } as const;

/** RFC 8200 §5. */
const IPV6_MIN_MTU = 1280;

/**
 * Bytes of the largest packet that pods may send over a network of `mtu` bytes.
 *
 * @throws WeirError CONFIG_INVALID when IPv6 cannot be spoken with so little
 */
export function podMtu(mtu: number, { mode, underlay }: Routing, families: ReadonlySet<4 | 6>): number {
  const left = mode === 'tunnel' ? mtu - OVERHEAD[underlay] : mtu;
  if (left >= IPV6_MIN_MTU || !families.has(6)) return left;
  throw new WeirError(
    'CONFIG_INVALID',
    `the network leaves ${left} bytes for packets of pods, IPv6 needs ${IPV6_MIN_MTU}`,
    {
      field: '--mtu',
      remedy: 'raise the MTU of the network, route packets (--routing-mode native), or give pods IPv4 addresses only',
    },
  );
}

/**
 * Makes the device of the tunnel what it should be: there, on the port; or gone, where packets are routed. One that stands
 * goes on working meanwhile; a new one is down until {@link openTunnel}, so that no packet comes in before its programs.
 *
 * @throws KernelError NETLINK_FAILED, such as EADDRINUSE when another tunnel has the port
 */
export function setUpTunnel(links: Rtnetlink, { mode, tunnelPort }: Routing, mtu: number): IfIndex | undefined {
  let device = links.link(TUNNEL_DEVICE);
  if (device !== undefined && (mode !== 'tunnel' || device.vxlanPort !== tunnelPort)) {
    links.remove(deleteLink(device.index));
    device = undefined;
  }
  if (mode !== 'tunnel') return undefined;
  if (device === undefined) {
    links.apply(createVxlan({ name: TUNNEL_DEVICE, port: tunnelPort, mtu, up: false }));
    // No link-local address: nothing of this node is to be found there.
    writeSysctl(`ipv6/conf/${TUNNEL_DEVICE}/addr_gen_mode`, 1);
    device = links.link(TUNNEL_DEVICE)!;
  }
  links.apply(changeLink(device.index, { mtu }));
  return device.index;
}

/** Lets packets in and out. */
export function openTunnel(index: IfIndex): void {
  using links = Rtnetlink.open();
  links.apply(changeLink(index, { up: true }));
}
