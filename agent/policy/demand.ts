/** What must have an identity so that rules can select it: prefixes and names. */
import { canonicalName } from '../../dns-proxy/rules/name-pattern.ts';
import type { Cidr } from '../model/address.ts';
import { formatCidr } from '../model/address.ts';
import type { PolicyDemand } from './contract.ts';
import type { PeerSelector, Rule } from './rule.ts';

/** All prefixes and names in the rules, each once, the prefixes of CIDR groups, and the backends of named services. */
export function demandOf(
  rules: readonly Rule[],
  groupCidrs: readonly Cidr[],
  serviceCidrs: (peer: Extract<PeerSelector, { kind: 'service' }>) => readonly Cidr[],
): PolicyDemand {
  const cidrs = new Map<string, Cidr>();
  const fqdns = new Map<string, PolicyDemand['fqdns'][number]>();
  const polled = new Set<string>();
  const addCidr = (cidr: Cidr): unknown => cidrs.set(formatCidr(cidr), cidr);
  const addPeer = (peer: PeerSelector): void => {
    if (peer.kind === 'cidr') addCidr(peer.cidr);
    if (peer.kind === 'cidr' || peer.kind === 'cidrGroup') peer.except.forEach(addCidr);
    if (peer.kind === 'service') serviceCidrs(peer).forEach(addCidr);
    if (peer.kind === 'fqdn') fqdns.set(`${peer.matchName ?? ''} ${peer.matchPattern ?? ''}`, peer);
  };
  groupCidrs.forEach(addCidr);
  for (const { stanzas } of rules) {
    for (const { direction, peers = [] } of stanzas) {
      peers.forEach(addPeer);
      if (direction === 'egress') continue;
      for (const peer of peers) if (peer.kind === 'fqdn') polled.add(canonicalName(peer.matchName ?? ''));
    }
  }
  return { cidrs: [...cidrs.values()], fqdns: [...fqdns.values()], polled: [...polled] };
}
