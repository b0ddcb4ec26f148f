import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import type { Address } from '../model/address.ts';
import type { EndpointLink, LinkRequest, LinkStatus } from '../model/datapath.ts';
import type { IfIndex } from '../model/endpoint.ts';
import { WeirError } from '../model/errors.ts';
import { localMac, type Mac } from '../model/mac.ts';
import type { LoadedProgram } from '../kernel/bpf-object.ts';
import { ERRNO, isErrno } from '../kernel/errno.ts';
import { Rtnetlink } from '../kernel/rtnetlink.ts';
import { addBpfFilter, addClsact } from '../kernel/rtnl-filter.ts';
import { changeLink, createVeth, type Link } from '../kernel/rtnl-link.ts';
import { setNeighbour } from '../kernel/rtnl-neighbour.ts';
import { deleteRoute, setRoute } from '../kernel/rtnl-route.ts';
import type { TcxHook } from '../kernel/tcx.ts';
import { hostPrefix, PodNetns } from './pod-netns.ts';

/**
 * The veth pairs of endpoints, in the agent's own network namespace. Everything that takes the kernel's routing lock runs
 * on worker threads: attaching a program or deleting a device elsewhere holds that lock for tens of milliseconds.
 */
export class Devices implements Disposable {
  readonly #links: Rtnetlink;

  constructor(links: Rtnetlink = Rtnetlink.open()) {
    this.#links = links;
  }

  /**
   * Creates the pair. The pod's end is ready to use; the host's end stays down until the endpoint is enforced
   * ({@link open}), so that no packet passes before. On failure nothing of it is left.
   *
   * @throws WeirError NETNS_NOT_FOUND, REQUEST_INVALID, NETLINK_FAILED
   */
  async createLink(request: LinkRequest): Promise<EndpointLink> {
    checkNames(request);
    using pod = PodNetns.open(request.netns);
    await using undo = new AsyncDisposableStack();
    const [hostMac, containerMac] = [localMac(randomBytes(6)), localMac(randomBytes(6))];
    await this.#createPair(request, pod, hostMac, containerMac);
    undo.defer(() => this.deleteLink(request.hostIfName));
    const [host, container] = await Promise.all([
      this.#links.linkAsync(request.hostIfName),
      pod.links.linkAsync(request.containerIfName),
      keepQuiet(request.hostIfName),
    ]);
    if (host === undefined || container === undefined) {
      throw new WeirError('NETLINK_FAILED', 'the pair was deleted by someone else while it was set up', {
        object: `link ${request.hostIfName}`,
      });
    }
    await pod.configure(request, container.index);
    undo.move();
    return {
      hostIfName: request.hostIfName,
      hostIfIndex: host.index,
      hostMac,
      containerIfName: request.containerIfName,
      containerIfIndex: container.index,
      containerMac,
      netnsInode: pod.netns.inode,
    };
  }

  /** Deletes both ends; an absent link is fine. */
  async deleteLink(link: IfIndex | string): Promise<void> {
    await this.#links.removeLink(link);
  }

  /** What stands of a link. The programs are the loader's to tell. */
  async status(link: EndpointLink, netns: string): Promise<Omit<LinkStatus, 'attached'>> {
    const host = await this.#links.linkAsync(link.hostIfIndex);
    const hostUp = host?.name === link.hostIfName && host.up;
    const container = await containerStatus(link, netns);
    return { hostUp, ...(container && { container }) };
  }

  /**
   * Puts programs on a new link as filters, which the kernel does at once; a TCX link makes it wait. Whatever TCX holds on
   * the same link comes first, and lets nothing through to them.
   *
   * @throws NetlinkError NETLINK_FAILED
   */
  async addFilters(index: IfIndex, programs: Readonly<Record<TcxHook, LoadedProgram>>): Promise<void> {
    await this.#links.applyAsync(
      addClsact(index),
      ...FILTER_HOOKS.map((hook) => {
        const { fd, name } = programs[hook];
        return addBpfFilter({ index, hook, programFd: fd, name: `${FILTER_PREFIX}${name}` });
      }),
    );
  }

  /** Whether programs are on both sides of a link as {@link addFilters} put them there. */
  async hasFilters(index: IfIndex): Promise<boolean> {
    const filters = await Promise.all(FILTER_HOOKS.map((hook) => this.#links.filterAsync(index, hook)));
    return filters.every((filter) => filter?.name.startsWith(FILTER_PREFIX));
  }

  /** Takes filters off a link whose programs TCX holds by now. */
  async removeFilters(index: IfIndex): Promise<void> {
    await this.#links.removeFilters(index);
  }

  /**
   * Opens the way from the host's stack to an enforced endpoint: its end up, a route to each address. Neighbours are
   * permanent, so the host never has to ask the pod for its MAC address.
   *
   * @param sources the addresses that the host speaks to pods with, one a family
   */
  async open(link: EndpointLink, addresses: readonly Address[], sources: readonly Address[]): Promise<void> {
    const index = link.hostIfIndex;
    await this.#links.applyAsync(
      changeLink(index, { up: true }),
      ...addresses.flatMap((address) => {
        const source = sources.find(({ family }) => family === address.family);
        return [
          setNeighbour(index, address, link.containerMac),
          setRoute({ destination: hostPrefix(address), index, ...(source && { source }) }),
        ];
      }),
    );
  }

  /** Takes away the routes to addresses. */
  async closeRoutes(addresses: readonly Address[]): Promise<void> {
    for (const address of addresses) {
      try {
        await this.#links.applyAsync(deleteRoute({ destination: hostPrefix(address) }));
      } catch (error) {
        if (!isErrno(error, ERRNO.ESRCH, ERRNO.ENOENT)) throw error;
      }
    }
  }

  /** The host's ends of endpoints' pairs, by their names. */
  endpointLinks(): readonly Link[] {
    return this.#links.links().filter(({ name, kind }) => kind === 'veth' && ENDPOINT_LINK.test(name));
  }

  [Symbol.dispose](): void {
    this.#links.close();
  }

  /** Optimistic: looks for a stale link of either name only when the kernel complains about one. */
  async #createPair(request: LinkRequest, pod: PodNetns, mac: Mac, podMac: Mac): Promise<void> {
    const create = createVeth({
      name: request.hostIfName,
      mac,
      mtu: request.mtu,
      up: false,
      peer: { name: request.containerIfName, mac: podMac, netnsFd: pod.netns.fd },
    });
    try {
      await this.#links.applyAsync(create);
    } catch (error) {
      if (!isErrno(error, ERRNO.EEXIST)) throw error;
      await this.#links.removeLink(request.hostIfName);
      await pod.links.removeLink(request.containerIfName);
      await this.#links.applyAsync(create);
    }
  }
}

const FILTER_HOOKS: readonly TcxHook[] = ['ingress', 'egress'];
/** What names of our filters start with. */
const FILTER_PREFIX = 'weir_';

/** Names of endpoints' links on the host: `wr` and hexadecimal digits. */
const ENDPOINT_LINK = /^wr[0-9a-f]+$/;

/** IFNAMSIZ, without the final NUL. */
const NAME_LENGTH = 15;

function checkNames({ hostIfName, containerIfName }: LinkRequest): void {
  if (!ENDPOINT_LINK.test(hostIfName) || hostIfName.length > NAME_LENGTH) {
    throw new WeirError('INTERNAL', `${JSON.stringify(hostIfName)} is no name of an endpoint's link`);
  }
  // As dev_valid_name of the kernel has it; the loopback would be deleted as stale.
  const valid = /^[^\s/:]{1,15}$/.test(containerIfName) && !['.', '..', 'lo'].includes(containerIfName);
  if (valid && Buffer.byteLength(containerIfName) <= NAME_LENGTH) return;
  throw new WeirError('REQUEST_INVALID', `${JSON.stringify(containerIfName)} cannot name a pod's interface`, {
    field: 'container-interface-name',
    remedy: 'give CNI_IFNAME at most 15 bytes without spaces, slashes or colons, and not "lo"',
  });
}

/**
 * No link-local address on the host's end: the pod is to see the gateway only, and nothing but what the datapath lets in.
 * Written on a worker thread, that is, in the agent's own namespace.
 */
async function keepQuiet(hostIfName: string): Promise<void> {
  try {
    await writeFile(`/proc/sys/net/ipv6/conf/${hostIfName}/addr_gen_mode`, '1', { flag: 'r+' });
  } catch (error) {
    // A kernel without IPv6 has no such file and no such address.
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

async function containerStatus(link: EndpointLink, netns: string): Promise<LinkStatus['container']> {
  try {
    using pod = PodNetns.open(netns);
    // Another namespace by the same path is not the pod's.
    if (pod.netns.inode !== link.netnsInode) return undefined;
    return await pod.status(link.containerIfName, link.containerIfIndex);
  } catch (error) {
    if (error instanceof WeirError && error.code === 'NETNS_NOT_FOUND') return undefined;
    throw error;
  }
}
