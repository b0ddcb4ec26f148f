/** The links, addresses, routes, rules and neighbours of one network namespace. */
import type { Address } from '../model/address.ts';
import type { IfIndex } from '../model/endpoint.ts';
import { ERRNO, isErrno } from './errno.ts';
import { type NetlinkRequest, NetlinkSocket } from './netlink.ts';
import type { Netns } from './netns.ts';
import { getAddresses, type LinkAddress, parseAddressMessage } from './rtnl-address.ts';
import { type BpfFilter, deleteClsact, getBpfFilter, parseBpfFilterMessage } from './rtnl-filter.ts';
import { deleteLink, getLink, type Link, parseLinkMessage } from './rtnl-link.ts';
import { getNeighbours, type Neighbour, parseNeighbourMessage } from './rtnl-neighbour.ts';
import { getRoutes, MAIN_TABLE, parseRouteMessage, type Route } from './rtnl-route.ts';
import { getRules, parseRuleMessage, type Rule } from './rtnl-rule.ts';
import type { TcxHook } from './tcx.ts';

/** How the kernel says that what should be deleted is not there: link, link by index, route or rule, address. */
const ABSENT = [ERRNO.ENODEV, ERRNO.ENXIO, ERRNO.ENOENT, ERRNO.ESRCH, ERRNO.EADDRNOTAVAIL] as const;

/** A socket that stays in the namespace it was opened in. Requests are made by the `rtnl-*` files. */
export class Rtnetlink implements Disposable {
  readonly #socket: NetlinkSocket;

  private constructor(socket: NetlinkSocket) {
    this.#socket = socket;
  }

  /** @param netns the process's own when absent */
  static open(netns?: Netns): Rtnetlink {
    return new Rtnetlink(NetlinkSocket.open(netns?.fd));
  }

  /**
   * Carries out requests in one go and in place. A failed one does not stop those after it.
   *
   * @throws NetlinkError NETLINK_FAILED: the first failure
   */
  apply(...requests: readonly NetlinkRequest[]): void {
    this.#socket.send(requests);
  }

  /** As {@link apply}, on a worker thread: for what makes the kernel wait, such as deleting a veth. */
  async applyAsync(...requests: readonly NetlinkRequest[]): Promise<void> {
    await this.#socket.sendAsync(requests);
  }

  /** Carries out one deletion in place. @returns false when there was nothing to delete */
  remove(request: NetlinkRequest): boolean {
    return absentIsFalse(() => this.apply(request));
  }

  /** Deletes a link and its peer, on a worker thread. @returns false when there was none */
  async removeLink(link: IfIndex | string): Promise<boolean> {
    try {
      await this.applyAsync(deleteLink(link));
      return true;
    } catch (error) {
      if (isErrno(error, ...ABSENT)) return false;
      throw error;
    }
  }

  /** By name or index; undefined when there is no such link. */
  link(link: IfIndex | string): Link | undefined {
    try {
      const [[body]] = this.#socket.send([getLink(link)]) as [[Buffer]];
      return parseLinkMessage(body);
    } catch (error) {
      if (isErrno(error, ...ABSENT)) return undefined;
      throw error;
    }
  }

  /** As {@link link}, on a worker thread: when others may hold the kernel's routing lock for long. */
  async linkAsync(link: IfIndex | string): Promise<Link | undefined> {
    try {
      const [[body]] = (await this.#socket.sendAsync([getLink(link)])) as [[Buffer]];
      return parseLinkMessage(body);
    } catch (error) {
      if (isErrno(error, ...ABSENT)) return undefined;
      throw error;
    }
  }

  /** The filter at one side of a link; undefined when there is none, or no link. */
  async filterAsync(index: IfIndex, hook: TcxHook): Promise<BpfFilter | undefined> {
    try {
      const [[body]] = (await this.#socket.sendAsync([getBpfFilter(index, hook)])) as [[Buffer]];
      return parseBpfFilterMessage(body);
    } catch (error) {
      // Without clsact: EINVAL.
      if (isErrno(error, ...ABSENT, ERRNO.EINVAL)) return undefined;
      throw error;
    }
  }

  /** Takes all filters off a link. @returns false when there is no room for any */
  async removeFilters(index: IfIndex): Promise<boolean> {
    try {
      await this.applyAsync(deleteClsact(index));
      return true;
    } catch (error) {
      if (isErrno(error, ...ABSENT, ERRNO.EINVAL)) return false;
      throw error;
    }
  }

  links(): Link[] {
    return this.#socket.dump(getLink()).map(parseLinkMessage);
  }

  /** IP addresses of a link, or of all links. */
  addresses(index?: IfIndex): LinkAddress[] {
    try {
      return present(this.#socket.dump(getAddresses(index)).map(parseAddressMessage));
    } catch (error) {
      if (isErrno(error, ...ABSENT)) return [];
      throw error;
    }
  }

  routes(family: Address['family'], table: number = MAIN_TABLE): Route[] {
    try {
      return present(this.#socket.dump(getRoutes(family, table)).map(parseRouteMessage));
    } catch (error) {
      // A table that never had a route does not exist.
      if (isErrno(error, ...ABSENT)) return [];
      throw error;
    }
  }

  rules(family: Address['family']): Rule[] {
    return present(this.#socket.dump(getRules(family)).map(parseRuleMessage));
  }

  neighbours(index?: IfIndex): Neighbour[] {
    const all = present(this.#socket.dump(getNeighbours()).map(parseNeighbourMessage));
    return index === undefined ? all : all.filter((neighbour) => neighbour.index === index);
  }

  close(): void {
    this.#socket.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function absentIsFalse(fn: () => void): boolean {
  try {
    fn();
    return true;
  } catch (error) {
    if (isErrno(error, ...ABSENT)) return false;
    throw error;
  }
}

function present<T>(items: readonly (T | undefined)[]): T[] {
  return items.filter((item) => item !== undefined);
}
