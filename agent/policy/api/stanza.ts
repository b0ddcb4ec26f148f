/** One item of `ingress`, `ingressDeny`, `egress` or `egressDeny`: who, on which ports, and how it must prove itself. */
import type { Direction } from '../../model/mapstate.ts';
import type { PeerSelector, PortSelector, RuleStanza } from '../rule.ts';
import { authentication } from './authentication.ts';
import { cidrPeers, cidrSetPeers } from './cidr-rule.ts';
import { list, object, type Decoder, type Fields } from './decode.ts';
import { endpointPeers, nodePeers } from './endpoint-selector.ts';
import { entityPeers } from './entities.ts';
import { fqdnPeers, polledPeers } from './fqdn-selector.ts';
import { groupPeers } from './groups.ts';
import { icmpRule } from './icmp.ts';
import { portDenyRule, portRule } from './port-rule.ts';
import type { Reading } from './reading.ts';
import { servicePeers } from './service-reference.ts';

/** A stanza without the rule it stands in. */
export type StanzaBody = Pick<RuleStanza, 'peers' | 'ports' | 'auth'>;

type Action = 'allow' | 'deny';

/** Kinds of L3 peers of both directions, by what follows `from` or `to` in the name of their field. */
const COMMON_PEERS: Readonly<Record<string, Decoder<readonly PeerSelector[]>>> = {
  Endpoints: endpointPeers,
  Nodes: nodePeers,
  Entities: entityPeers,
  CIDR: cidrPeers,
  CIDRSet: cidrSetPeers,
  Groups: groupPeers,
};

/** Of these an empty list selects nothing (S15); of the others it is as good as absent. */
const EMPTY_SELECTS_NOTHING = ['Endpoints', 'Nodes', 'Entities', 'CIDR', 'CIDRSet'];

const DECODERS: Readonly<Record<Direction, Readonly<Record<Action, Decoder<StanzaBody>>>>> = {
  ingress: { allow: stanza('ingress', 'allow'), deny: stanza('ingress', 'deny') },
  egress: { allow: stanza('egress', 'allow'), deny: stanza('egress', 'deny') },
};

export function stanzaDecoder(direction: Direction, action: Action): Decoder<StanzaBody> {
  return DECODERS[direction][action];
}

function peerFields(direction: Direction, action: Action): Record<string, Decoder<readonly PeerSelector[]>> {
  const side = direction === 'ingress' ? 'from' : 'to';
  const fields = Object.fromEntries(Object.entries(COMMON_PEERS).map(([name, decoder]) => [side + name, decoder]));
  if (direction === 'egress') fields['toServices'] = servicePeers;
  // A deny by name would hold only once the name was asked for: the language does not offer it.
  if (direction === 'egress' && action === 'allow') fields['toFQDNs'] = fqdnPeers;
  if (direction === 'ingress' && action === 'allow') fields['fromFQDNs'] = polledPeers;
  return fields;
}

function stanza(direction: Direction, action: Action): Decoder<StanzaBody> {
  const peers = peerFields(direction, action);
  const side = direction === 'ingress' ? 'from' : 'to';
  const ofNothing = EMPTY_SELECTS_NOTHING.map((name) => side + name);
  const fields: Fields = {
    ...peers,
    toPorts: list(action === 'allow' ? portRule : portDenyRule),
    icmps: list(icmpRule),
    ...(action === 'allow' ? { authentication } : {}),
  };
  const decode: Decoder<StanzaDraft> = object(fields, {
    [`${side}Requires`]: `requirements are gone: add them to each selector of ${side}Endpoints`,
    ...(action === 'deny' ? { [`${side}FQDNs`]: `names cannot be denied: use ${side}CIDRSet` } : {}),
  });
  return (value, reading) => {
    const draft = decode(value, reading);
    if (draft === null) return null;
    const present = Object.keys(peers).filter((name) => draft[name] !== undefined);
    checkPeers(present, draft, reading);
    checkIcmps(draft, reading);
    const ports = portsOf(draft);
    return {
      peers: peersOf(present, draft, ofNothing, ports !== undefined),
      ports,
      ...(draft.authentication === undefined ? {} : { auth: draft.authentication }),
    };
  };
}

/** Peers by field, and the fields that every stanza may have. */
interface StanzaDraft extends Record<string, unknown> {
  readonly toPorts?: readonly (readonly PortSelector[])[];
  readonly icmps?: readonly (readonly PortSelector[])[];
  readonly authentication?: NonNullable<RuleStanza['auth']>;
}

function peerList(draft: StanzaDraft, field: string): readonly PeerSelector[] {
  return draft[field] as readonly PeerSelector[];
}

/** Two kinds of peers in one stanza would read as "both" and mean "either": refused (S36). */
function checkPeers(present: readonly string[], draft: StanzaDraft, reading: Reading): void {
  const filled = present.filter((field) => peerList(draft, field).length > 0);
  if (filled.length < 2) return;
  reading.issue(`${filled.join(' and ')} cannot stand in one rule`, {
    under: [filled[1]!],
    remedy: 'write one rule for each kind of peer',
  });
}

function checkIcmps({ icmps = [], toPorts = [] }: StanzaDraft, reading: Reading): void {
  if (icmps.length === 0) return;
  if (!reading.options.icmpRules) {
    reading.issue('ICMP rules are off', { under: ['icmps'], remedy: 'turn on enable-icmp-rules, or remove icmps' });
  }
  if (toPorts.length > 0) {
    reading.issue('icmps and toPorts cannot stand in one rule', { under: ['icmps'], remedy: 'write a rule for each' });
  }
}

function portsOf({ toPorts = [], icmps = [] }: StanzaDraft): readonly PortSelector[] | undefined {
  return toPorts.length + icmps.length === 0 ? undefined : [...toPorts.flat(), ...icmps.flat()];
}

/** Without any peer field, ports alone mean every peer; and an empty stanza means no peer at all (S15, S16). */
function peersOf(
  present: readonly string[],
  draft: StanzaDraft,
  ofNothing: readonly string[],
  hasPorts: boolean,
): readonly PeerSelector[] | undefined {
  const peers = present.flatMap((field) => peerList(draft, field));
  if (present.some((field) => ofNothing.includes(field) && peerList(draft, field).length === 0)) {
    return peers.filter((peer) => peer.kind === 'fqdn');
  }
  return peers.length > 0 ? peers : hasPorts ? undefined : [];
}
