/**
 * The way of a packet to a proxy of this node. Its destination is someone else's address, so the node would send it on; what
 * bears the mark of the datapath (bpf/lib/proxy.h) is taken in instead, and goes to the socket that was assigned to it.
 */
import { MARK_KIND, MARK_TO_PROXY } from '../../bpf/gen/constants.ts';
import { parseCidr } from '../model/address.ts';
import { ifIndex } from '../model/endpoint.ts';
import { ERRNO, isErrno } from '../kernel/errno.ts';
import type { Rtnetlink } from '../kernel/rtnetlink.ts';
import { changeLink } from '../kernel/rtnl-link.ts';
import { deleteRoute, setRoute, type Route } from '../kernel/rtnl-route.ts';
import { addRule, deleteRule, type Rule } from '../kernel/rtnl-rule.ts';

const LOOPBACK = ifIndex(1);
const TABLE = 2204;
/** After the table of local addresses, before all others. */
const PRIORITY = 9;

function ruleOf(family: 4 | 6): Rule {
  return { family, priority: PRIORITY, table: TABLE, mark: { value: MARK_TO_PROXY, mask: MARK_KIND } };
}

function routeOf(family: 4 | 6): Route {
  const destination = parseCidr(family === 4 ? '0.0.0.0/0' : '::/0');
  return { destination, kind: 'local', index: LOOPBACK, table: TABLE };
}

/** Idempotent. @throws NetlinkError NETLINK_FAILED */
export function routeToProxies(links: Rtnetlink, families: ReadonlySet<4 | 6>): void {
  links.apply(changeLink(LOOPBACK, { up: true }));
  for (const family of families) {
    links.apply(setRoute(routeOf(family)));
    try {
      links.apply(addRule(ruleOf(family)));
    } catch (error) {
      if (!isErrno(error, ERRNO.EEXIST)) throw error;
    }
  }
}

/** Takes away what {@link routeToProxies} made; what is gone is fine. */
export function forgetProxyRouting(links: Rtnetlink): void {
  for (const family of [4, 6] as const) {
    if (links.rules(family).some(({ table }) => table === TABLE)) links.remove(deleteRule(ruleOf(family)));
    for (const route of links.routes(family, TABLE)) links.remove(deleteRoute(route));
  }
}
