/** Events of the datapath, one line each, in the manner of `cilium-dbg monitor`. Pure. */
import type { MonitorEvent, MonitorPeer } from '../../agent/api/models.ts';
import { PROTOCOL } from '../../agent/model/port.ts';
import type { Paint } from '../output/table.ts';

export interface MonitorLineOptions {
  /** Show identities by number, not by labels. */
  readonly numeric: boolean;
  /** Put the time first. */
  readonly time: boolean;
}

export function monitorLine(event: MonitorEvent, options: MonitorLineOptions, paint: Paint): string {
  const { lost: untold = 0, limited = 0 } = event;
  const lost =
    (untold === 0 ? '' : `${lostLine(untold, paint)}\n`) + (limited === 0 ? '' : `${limitedLine(limited, paint)}\n`);
  const time = options.time ? `${paint('dim', event.time)} ` : '';
  return `${lost}${time}${eventText(event, options, paint)}`;
}

export function lostLine(lost: number, paint: Paint): string {
  return paint('warn', `Lost ${lost} events`);
}

export function limitedLine(limited: number, paint: Paint): string {
  return paint('warn', `Left out ${limited} events, more than the rate limit`);
}

function eventText(event: MonitorEvent, options: MonitorLineOptions, paint: Paint): string {
  const identities = `identity ${peerText(event.source, options)}->${peerText(event.destination, options)}`;
  switch (event.type) {
    case 'drop':
      return (
        `${paint('bad', `xx drop (${event.reason})`)} to endpoint ${targetEndpoint(event)}, ifindex ${event.ifindex}, ` +
        `${identities}: ${connectionText(event)}${policyText(event)}`
      );
    case 'policy-verdict': {
      const remote = event.direction === 'ingress' ? event.source : event.destination;
      const action = event.verdict ?? 'deny';
      return (
        `Policy verdict log: local EP ID ${event.endpoint}, remote ID ${peerText(remote, options)}, ` +
        `proto ${protocolNumber(event.protocol)}, ${event.direction}, ` +
        `action ${paint(action === 'deny' ? 'bad' : 'good', action)}, match ${event.reason}, ` +
        `${connectionText(event)}${policyText(event)}`
      );
    }
    case 'l7':
      return l7Text(event, identities, paint);
    case 'trace':
      return (
        `${tracePoint(event)} ${identities} state ${event.reply === true ? 'reply' : 'forward'} ` +
        `ifindex ${event.ifindex}: ${connectionText(event)}`
      );
  }
}

/** A query that a proxy took, or its answer. */
function l7Text(
  { dns, verdict, source, destination, endpoint, reason }: MonitorEvent,
  who: string,
  paint: Paint,
): string {
  const isAnswer = dns?.kind === 'response';
  const [way, place] = isAnswer ? ['<- Response', 'to'] : ['-> Request', 'from'];
  const action = paint(verdict === 'forwarded' ? 'good' : 'bad', verdict ?? '');
  const answer = [
    ...(dns?.rcode === undefined ? [] : [dns.rcode]),
    ...(dns?.ips === undefined ? [] : [`TTL: ${dns.ttl ?? 0} Answer: ${dns.ips.join(', ')}`]),
    ...(dns?.cnames === undefined ? [] : [`CNAMEs: ${dns.cnames.join(', ')}`]),
  ];
  return (
    `${way} dns ${place} endpoint ${endpoint}, ${who}, verdict ${action}${reason === '' ? '' : ` (${reason})`} ` +
    `DNS ${isAnswer ? 'Answer' : 'Query'}: ${dns?.query ?? ''} ${dns?.qtype ?? ''}${answer.length === 0 ? '' : ` ${answer.join(' ')}`}, ` +
    `${socketText(source)} -> ${socketText(destination)}`
  );
}

/** The endpoint that a dropped packet was for; 0 when it was on its way out. */
function targetEndpoint(event: MonitorEvent): number {
  return event.direction === 'ingress' ? event.endpoint : 0;
}

function tracePoint(event: MonitorEvent): string {
  const way = /^(to|from)[- ](.*)$/i.exec(event.reason);
  if (way === null) return `-- ${event.reason}`;
  const place = way[2] === 'endpoint' ? `endpoint ${event.endpoint}` : way[2]!;
  return `${way[1]!.toLowerCase() === 'to' ? '->' : '<-'} ${place}`;
}

function peerText(peer: MonitorPeer, { numeric }: MonitorLineOptions): string {
  if (numeric || peer.labels === undefined || peer.labels.length === 0) return String(peer.identity);
  const reserved = peer.labels.length === 1 ? /^reserved:(.*)$/.exec(peer.labels[0]!) : null;
  return reserved?.[1] ?? String(peer.identity);
}

function connectionText(event: MonitorEvent): string {
  const { source, destination } = event;
  if (event.icmp !== undefined) return `${source.ip} -> ${destination.ip} ${icmpText(event.protocol, event.icmp)}`;
  const protocol = event.protocol.toLowerCase();
  if (source.port === 0 && destination.port === 0) return `${source.ip} -> ${destination.ip} ${protocol}`;
  const flags = event.tcpFlags === undefined || event.tcpFlags.length === 0 ? '' : ` ${event.tcpFlags.join(', ')}`;
  return `${socketText(source)} -> ${socketText(destination)} ${protocol}${flags}`;
}

function socketText({ ip, port }: MonitorPeer): string {
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`;
}

/** IANA ICMP and ICMPv6 types that operators meet. */
const ICMP4_TYPES: Readonly<Record<number, string>> = {
  0: 'EchoReply',
  3: 'DestinationUnreachable',
  5: 'Redirect',
  8: 'EchoRequest',
  11: 'TimeExceeded',
};
const ICMP6_TYPES: Readonly<Record<number, string>> = {
  1: 'DestinationUnreachable',
  2: 'PacketTooBig',
  3: 'TimeExceeded',
  128: 'EchoRequest',
  129: 'EchoReply',
  133: 'RouterSolicitation',
  134: 'RouterAdvertisement',
  135: 'NeighborSolicitation',
  136: 'NeighborAdvertisement',
};

function icmpText(protocol: string, { type, code }: { readonly type: number; readonly code: number }): string {
  const name = (protocol === 'ICMPv6' ? ICMP6_TYPES : ICMP4_TYPES)[type] ?? `type ${type}`;
  return `${protocol} ${name}${code === 0 ? '' : ` (code ${code})`}`;
}

function protocolNumber(protocol: string): string {
  const known = Object.entries(PROTOCOL).find(([name]) => name === protocol);
  return known === undefined ? protocol : String(known[1]);
}

function policyText({ policies }: MonitorEvent): string {
  return policies === undefined || policies.length === 0 ? '' : `, by ${policies.join(', ')}`;
}

/** What `weir monitor` was asked to show. Empty means all. */
export interface MonitorFilter {
  readonly types: ReadonlySet<MonitorEvent['type']>;
  readonly from: readonly FilterEndpoint[];
  readonly to: readonly FilterEndpoint[];
  readonly relatedTo: readonly FilterEndpoint[];
}

/** An endpoint by its number and its addresses: the program of another one may be who speaks of its packets. */
export interface FilterEndpoint {
  readonly id: number;
  readonly addresses: ReadonlySet<string>;
}

export function monitorMatches(event: MonitorEvent, filter: MonitorFilter): boolean {
  const isFrom = (e: FilterEndpoint): boolean => e.addresses.has(event.source.ip);
  const isTo = (e: FilterEndpoint): boolean => e.addresses.has(event.destination.ip);
  return (
    (filter.types.size === 0 || filter.types.has(event.type)) &&
    (filter.from.length === 0 || filter.from.some(isFrom)) &&
    (filter.to.length === 0 || filter.to.some(isTo)) &&
    (filter.relatedTo.length === 0 || filter.relatedTo.some((e) => e.id === event.endpoint || isFrom(e) || isTo(e)))
  );
}
