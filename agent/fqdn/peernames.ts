/** From what the policy engine says of an endpoint's redirects to what the DNS proxy decides by. */
import type { NameRule, PeerNames } from '../../dns-proxy/rules/query-policy.ts';
import type { IdentityId } from '../model/identity.ts';
import type { RedirectPolicy } from '../policy/contract.ts';

/** Identities that have a port of this name, with its number. */
export type PortsByName = (
  name: string,
  protocol: number,
) => Iterable<{ readonly identity: IdentityId; readonly port: number }>;

/**
 * The DNS rules among an endpoint's redirects. A port by name becomes a rule for each number that it has among the servers
 * (S35); one that it has nowhere becomes no rule.
 */
export function peerNames(policies: readonly RedirectPolicy[], portsByName: PortsByName): readonly PeerNames[] {
  return policies
    .filter(({ redirect }) => redirect.parser === 'dns' && redirect.direction === 'egress')
    .flatMap((policy) => (policy.portName === '' ? [ofNumber(policy)] : ofName(policy, portsByName)));
}

function ofNumber({ redirect, endPort, wildcard, identities, l7 }: RedirectPolicy): PeerNames {
  const peers = wildcard ? undefined : identities;
  return { protocol: redirect.protocol, port: redirect.port, endPort, peers, names: namesOf(l7) };
}

function ofName({ redirect, portName, wildcard, identities, l7 }: RedirectPolicy, ports: PortsByName): PeerNames[] {
  const selected = new Set(identities);
  const peersOf = new Map<number, IdentityId[]>();
  for (const { identity, port } of ports(portName, redirect.protocol)) {
    if (!wildcard && !selected.has(identity)) continue;
    const peers = peersOf.get(port) ?? [];
    peersOf.set(port, peers);
    peers.push(identity);
  }
  const names = namesOf(l7);
  return [...peersOf].map(([port, peers]) => ({ protocol: redirect.protocol, port, endPort: 0, peers, names }));
}

/** The engine's own list, which endpoints of one policy share: the proxy compiles it once. */
function namesOf({ rules }: RedirectPolicy['l7']): readonly NameRule[] {
  return rules;
}
