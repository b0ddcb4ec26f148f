import { addressEquals, type Address, type Cidr } from '../model/address.ts';
import type { LinkRequest, LinkStatus } from '../model/datapath.ts';
import type { IfIndex } from '../model/endpoint.ts';
import { WeirError } from '../model/errors.ts';
import { Netns } from '../kernel/netns.ts';
import { Rtnetlink } from '../kernel/rtnetlink.ts';
import { addAddress } from '../kernel/rtnl-address.ts';
import { changeLink } from '../kernel/rtnl-link.ts';
import { setRoute } from '../kernel/rtnl-route.ts';
import { writeSysctl, type SysctlName } from '../kernel/sysctl.ts';

/** The network namespace of a pod, as far as its interface goes. */
export class PodNetns implements Disposable {
  readonly netns: Netns;
  readonly links: Rtnetlink;

  private constructor(netns: Netns, links: Rtnetlink) {
    this.netns = netns;
    this.links = links;
  }

  /**
   * @throws WeirError NETNS_NOT_FOUND when there is none at `path`, or it is the agent's own: whoever mixed those up would
   *   lose the node's network
   */
  static open(path: string): PodNetns {
    const netns = Netns.open(path);
    try {
      using own = Netns.current();
      if (own.inode === netns.inode) {
        throw new WeirError('NETNS_NOT_FOUND', `${path} is the node's own network namespace, not a pod's`, {
          object: path,
        });
      }
      return new PodNetns(netns, Rtnetlink.open(netns));
    } catch (error) {
      netns.close();
      throw error;
    }
  }

  /** Gives the interface its addresses and routes and switches it and the loopback on. */
  async configure({ containerIfName, addresses, gateways }: LinkRequest, index: IfIndex): Promise<void> {
    if (addresses.some(({ family }) => family === 6)) this.#setUpIpv6(containerIfName);
    const loopback = await this.links.linkAsync('lo');
    await this.links.applyAsync(
      ...(loopback === undefined || loopback.up ? [] : [changeLink(loopback.index, { up: true })]),
      changeLink(index, { up: true }),
      ...addresses.map((address) => addAddress({ index, address, prefixLength: address.bytes.length * 8 })),
      // The gateway is on the link although its address is in no network of the interface: say so first.
      ...gateways.map((gateway) => setRoute({ destination: hostPrefix(gateway), index })),
      ...gateways.map((gateway) => setRoute({ destination: everything(gateway.family), gateway, index })),
    );
  }

  /** The interface as it is now; undefined when it is gone. */
  async status(containerIfName: string, index: IfIndex): Promise<LinkStatus['container']> {
    const link = await this.links.linkAsync(containerIfName);
    if (link?.mac === undefined || link.index !== index) return undefined;
    const addresses = this.links.addresses(index).map(({ address }) => address);
    return { up: link.up, addresses: addresses.filter((address) => !isLinkLocal(address)), mac: link.mac };
  }

  [Symbol.dispose](): void {
    this.links.close();
    this.netns.close();
  }

  /**
   * No duplicate address detection, which would leave addresses unusable for a second: the agent hands out each address
   * once. No router solicitation either: nobody here answers it. Some runtimes switch IPv6 off in new namespaces.
   */
  #setUpIpv6(ifName: string): void {
    const conf = `ipv6/conf/${ifName}` as const;
    const settings: readonly (readonly [SysctlName, number])[] = [
      [`${conf}/disable_ipv6`, 0],
      [`${conf}/accept_dad`, 0],
      [`${conf}/accept_ra`, 0],
    ];
    for (const [name, value] of settings) writeSysctl(name, value, this.netns);
  }
}

/** The prefix that holds only `address`. */
export function hostPrefix(address: Address): Cidr {
  return { address, length: address.bytes.length * 8 };
}

function everything(family: 4 | 6): Cidr {
  return { address: { family, bytes: new Uint8Array(family === 4 ? 4 : 16) }, length: 0 };
}

/** Whether `address` is in fe80::/10, which the kernel gives to every interface by itself. */
function isLinkLocal({ family, bytes }: Address): boolean {
  return family === 6 && bytes[0] === 0xfe && (bytes[1]! & 0xc0) === 0x80;
}

/** Whether `have` holds every address of `want`. */
export function holdsAddresses(have: readonly Address[], want: readonly Address[]): boolean {
  return want.every((address) => have.some((other) => addressEquals(address, other)));
}
