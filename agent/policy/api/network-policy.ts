/** Kubernetes' NetworkPolicy (networking.k8s.io/v1), S32–S35. */
import type { Cidr } from '../../model/address.ts';
import type { Direction } from '../../model/mapstate.ts';
import { PROTOCOL } from '../../model/port.ts';
import type { PeerSelector, PortMatch, PortSelector, Rule, RuleOrigin, RuleStanza } from '../rule.ts';
import { exceptsInside, prefix } from './cidr-rule.ts';
import { integer, list, object, oneOf, string, then, type Decoder } from './decode.ts';
import { inOwnCluster, namespaceSelector, podsIn, podSelector, podsOf } from './kubernetes-selector.ts';
import { finishSelector } from './label-selector.ts';
import { originOf } from './metadata.ts';
import { checkedEndPort, isPortName, parseProtocol } from './port.ts';
import type { Reading, Refused } from './reading.ts';
import { topLevel } from './top-level.ts';

const ipBlock = then(object({ cidr: prefix, except: list(prefix) }), (block, reading) => {
  const { cidr, except = [] } = block;
  if (cidr === undefined && 'cidr' in block) return null;
  if (cidr === undefined) return reading.issue('the prefix is missing', { under: ['cidr'], remedy: 'set cidr' });
  return exceptsInside(cidr, except, reading) ? { cidr, except } : null;
});

const rawPeer = object({ podSelector, namespaceSelector, ipBlock });

const portOrName: Decoder<string | number> = (value, reading) =>
  typeof value === 'string' || (typeof value === 'number' && Number.isInteger(value))
    ? value
    : reading.wrongType(value, 'a port number or name');

const networkPolicyPort = then(object({ protocol: string, port: portOrName, endPort: integer }), portSelector);

const spec = object({
  podSelector,
  policyTypes: list(oneOf('policy type', ['Ingress', 'Egress'])),
  ingress: list(object({ from: list(rawPeer), ports: list(networkPolicyPort) })),
  egress: list(object({ to: list(rawPeer), ports: list(networkPolicyPort) })),
});

type Spec = NonNullable<ReturnType<typeof spec>>;
type Peer = NonNullable<ReturnType<typeof rawPeer>>;

export function networkPolicy(object: Readonly<Record<string, unknown>>, reading: Reading): readonly Rule[] {
  topLevel(object, ['spec'], reading);
  const origin = originOf(object, 'NetworkPolicy', true, reading);
  const raw = reading.at('spec', () => spec(object['spec'] ?? {}, reading)) ?? {};
  const directions = isolatedDirections(raw);
  const stanzas = [
    ...stanzasOf(
      'ingress',
      (raw.ingress ?? []).map(({ from, ports }) => ({ peers: from, ports })),
      origin,
      reading,
    ),
    ...stanzasOf(
      'egress',
      (raw.egress ?? []).map(({ to, ports }) => ({ peers: to, ports })),
      origin,
      reading,
    ),
  ];
  return [
    {
      origin: { ...origin, path: 'spec' },
      tier: 'normal',
      priority: 0,
      subject: { kind: 'endpoint', selector: finishSelector(podsIn(origin.namespace, raw.podSelector)) },
      stanzas,
      defaultDeny: directions,
      selects: directions,
    },
  ];
}

/** Ingress unless only Egress is listed; egress when listed or spoken of (S33). */
function isolatedDirections({ policyTypes = [], ingress = [], egress = [] }: Spec): Rule['selects'] {
  return {
    ingress: ingress.length > 0 || policyTypes.includes('Ingress') || !policyTypes.includes('Egress'),
    egress: egress.length > 0 || policyTypes.includes('Egress'),
  };
}

interface RawStanza {
  readonly peers: readonly Peer[] | undefined;
  readonly ports: readonly PortSelector[] | undefined;
}

function stanzasOf(
  direction: Direction,
  items: readonly RawStanza[],
  origin: Omit<RuleOrigin, 'path'>,
  reading: Reading,
): readonly RuleStanza[] {
  const side = direction === 'ingress' ? 'from' : 'to';
  return items.map(({ peers = [], ports = [] }, i) => {
    const path = `spec.${direction}[${i}]`;
    reading.enter('spec');
    reading.enter(direction);
    reading.enter(i);
    reading.enter(side);
    const converted = peers.flatMap((item, j) => reading.at(j, () => peersOf(item, origin.namespace, reading)));
    for (let depth = 0; depth < 4; depth++) reading.leave();
    return {
      origin: { ...origin, path },
      direction,
      action: 'allow' as const,
      // Absent or empty: the stanza does not restrict peers, or ports. Different from Cilium's kinds (S16).
      peers: peers.length === 0 ? undefined : converted,
      ports: ports.length === 0 ? undefined : ports,
    };
  });
}

function peersOf(peer: Peer, namespace: string, reading: Reading): readonly PeerSelector[] {
  const { podSelector: pods, namespaceSelector: namespaces, ipBlock: block } = peer;
  const labelled = pods !== undefined || namespaces !== undefined;
  if (Object.keys(peer).length === 0) {
    reading.schemaIssue('the peer selects nothing', { remedy: 'give podSelector, namespaceSelector or ipBlock' });
  }
  if (labelled && block !== undefined) {
    reading.schemaIssue('ipBlock excludes the other selectors', { under: ['ipBlock'], remedy: 'write two items' });
  }
  const peers: PeerSelector[] = [];
  if (labelled) {
    const draft = namespaces === undefined ? podsIn(namespace, pods) : podsOf(namespaces, pods);
    peers.push({ kind: 'labels', selector: inOwnCluster(draft, reading) });
  }
  if (block !== undefined) peers.push(blockPeer(block));
  return peers;
}

function blockPeer({ cidr, except }: { readonly cidr: Cidr; readonly except: readonly Cidr[] }): PeerSelector {
  return { kind: 'cidr', cidr, except };
}

interface RawPort {
  readonly protocol?: string | undefined;
  readonly port?: string | number | undefined;
  readonly endPort?: number | undefined;
}

/** Protocol defaults to TCP, no port is every port of the protocol (S32). */
function portSelector({ protocol: text = 'TCP', port, endPort }: RawPort, reading: Reading): PortSelector | Refused {
  const protocol = reading.at('protocol', () => parseProtocol(text, reading));
  if (protocol === null) return null;
  const { number } = protocol;
  if (number === PROTOCOL.ANY) {
    reading.schemaIssue('NetworkPolicy knows TCP, UDP and SCTP', {
      under: ['protocol'],
      value: text,
      remedy: 'list each protocol',
    });
  }
  if (port === undefined) {
    if (endPort !== undefined)
      reading.schemaIssue('a range needs its first port', { under: ['port'], remedy: 'set port' });
    return { protocol: number, port: { kind: 'any' } };
  }
  const match = portMatch(port, endPort, reading);
  return match === null ? null : { protocol: number, port: match };
}

function portMatch(port: string | number, endPort: number | undefined, reading: Reading): PortMatch | Refused {
  const text = String(port);
  if (!/^\d+$/.test(text)) {
    if (!isPortName(text)) {
      reading.schemaIssue('is not a port name', {
        under: ['port'],
        value: port,
        remedy: 'give a number, or a name of at most 15 characters',
      });
    }
    if (endPort !== undefined) {
      reading.schemaIssue('a named port cannot begin a range', {
        under: ['endPort'],
        value: endPort,
        remedy: 'give port as a number',
      });
    }
    return { kind: 'named', name: text.toLowerCase() };
  }
  const first = Number(text);
  if (first > 65535) {
    return reading.issue('is not a port', { under: ['port'], value: port, remedy: 'give a number from 1 to 65535' });
  }
  if (endPort !== undefined && endPort < first) {
    reading.schemaIssue('the range ends before it begins', {
      under: ['endPort'],
      value: endPort,
      remedy: 'give an endPort not below port',
    });
  }
  if (first === 0) {
    reading.schemaIssue('is not a port', { under: ['port'], value: port, remedy: 'leave port out for every port' });
    return { kind: 'any' };
  }
  return { kind: 'number', port: first, endPort: Math.max(first, checkedEndPort(endPort ?? 0, reading)) };
}
