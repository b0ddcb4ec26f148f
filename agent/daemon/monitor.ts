import type { QueryRecord } from '../../dns-proxy/contract.ts';
import type { MonitorEvent, MonitorPeer } from '../api/models.ts';
import type { EndpointManager } from '../endpoint/manager.ts';
import type { Subscription } from '../flow/broadcast.ts';
import type { EventSubscription } from '../flow/event-broadcast.ts';
import { tcpFlagNames, type FlowEvent, type FlowPeer } from '../flow/event.ts';
import type { IdentityRegistry } from '../identity/registry.ts';
import type { Ipcache } from '../ipcache/ipcache.ts';
import { formatAddress, parseAddress } from '../model/address.ts';
import { endpointId } from '../model/endpoint.ts';
import { identityId } from '../model/identity.ts';
import { formatLabel } from '../model/labels.ts';
import { PROTOCOL, protocolName } from '../model/port.ts';
import type { PolicyEngine } from '../policy/contract.ts';
import { deciders, deciderEra } from './deciders.ts';
import { eventLines, told } from './event-lines.ts';
import type { DnsControl } from './names/dns-control.ts';
import { dnsEvent } from './names/query-event.ts';
import type { NodeKernel } from './node-kernel.ts';

/** How many events may wait for one listener before it loses some. */
const CAPACITY = 8192;

export interface MonitorParts {
  readonly kernel: NodeKernel;
  readonly identities: IdentityRegistry;
  readonly ipcache: Ipcache;
  readonly engine: PolicyEngine;
  readonly manager: EndpointManager;
  readonly dns: DnsControl;
}

/**
 * Events of the kernel and of the DNS proxy from now on, with names for the numbers in them, until `signal` aborts: those of
 * `types`, or all when there are none. As lines of JSON, a {@link MonitorEvent} each, as many at a time as have come.
 */
export async function* monitorEvents(
  parts: MonitorParts,
  signal: AbortSignal,
  types: readonly MonitorEvent['type'][],
): AsyncGenerator<string> {
  const wanted = types.length === 0 ? undefined : new Set<string>(types);
  using packets = parts.kernel.events(CAPACITY, wanted);
  using queries = wanted?.has('l7') === false ? undefined : parts.dns.watchQueries(CAPACITY);
  const close = (): void => {
    packets.close();
    queries?.close();
  };
  signal.addEventListener('abort', close, { once: true });
  if (signal.aborted) return;
  yield* merged(packetLines(parts, packets), ...(queries === undefined ? [] : [queryLines(parts, queries)]));
}

/** An event tells how many never came before it. */
async function* packetLines(parts: MonitorParts, from: EventSubscription): AsyncGenerator<string, void> {
  const names = {
    name: (event: FlowEvent) => nameEvent(parts, event),
    era: (endpoint: number, time: number) => deciderEra(parts, endpoint, time),
  };
  let untold = { lost: 0, limited: 0 };
  for await (const { events, lost, limited } of from) {
    untold = { lost: untold.lost + lost, limited: untold.limited + limited };
    if (events.size === 0) continue;
    yield eventLines(events, names, untold);
    untold = { lost: 0, limited: 0 };
  }
}

async function* queryLines(parts: MonitorParts, from: Subscription<QueryRecord>): AsyncGenerator<string, void> {
  let untold = { lost: 0, limited: 0 };
  for await (const { events, lost, limited } of from) {
    untold = { lost: untold.lost + lost, limited: untold.limited + limited };
    const [first, ...others] = events.map((record) => nameQuery(parts, record));
    if (first === undefined) continue;
    yield [{ ...first, ...told(untold) }, ...others].map((event) => `${JSON.stringify(event)}\n`).join('');
    untold = { lost: 0, limited: 0 };
  }
}

/** What either has, as it comes, until both have ended. */
async function* merged<T>(...sources: readonly AsyncGenerator<T, void>[]): AsyncGenerator<T> {
  const arrived: { readonly source: AsyncGenerator<T, void>; readonly result: Promise<IteratorResult<T, void>> }[] = [];
  let wake = (): void => undefined;
  // No race of promises: one that is silent for days would keep what every event of the other has left on it.
  const ask = (source: AsyncGenerator<T, void>): void => {
    const result = source.next();
    const settled = (): void => {
      arrived.push({ source, result });
      wake();
    };
    result.then(settled, settled);
  };
  sources.forEach(ask);
  let running = sources.length;
  try {
    while (running > 0) {
      const first = arrived.shift();
      if (first === undefined) {
        await new Promise<void>((resolve) => (wake = resolve));
        continue;
      }
      const result = await first.result;
      if (result.done === true) running--;
      else {
        ask(first.source);
        yield result.value;
      }
    }
  } finally {
    // The subscriptions beneath are closed by whoever made them, which ends what is still waiting.
    for (const source of sources) void source.return();
  }
}

/** A query or an answer, as the endpoint that asked sees it. */
function nameQuery(parts: MonitorParts, record: QueryRecord): MonitorEvent {
  const { manager } = parts;
  const identity = manager.index.byId(endpointId(record.endpoint))?.identity?.id ?? identityId(0);
  const client = { address: parseAddress(record.client), port: record.clientPort, identity };
  const server = {
    address: parseAddress(record.server),
    port: record.serverPort,
    identity: identityId(record.serverIdentity),
  };
  const isAnswer = record.kind === 'answer';
  return {
    type: 'l7',
    time: new Date(record.time).toISOString(),
    endpoint: record.endpoint,
    direction: 'egress',
    source: namePeer(parts, isAnswer ? server : client),
    destination: namePeer(parts, isAnswer ? client : server),
    protocol: protocolName(record.protocol),
    reason: record.reason ?? '',
    verdict: record.verdict,
    dns: dnsEvent(record),
    ...(isAnswer && { reply: true }),
    ...{ ifindex: 0, length: 0 },
  };
}

function nameEvent(parts: MonitorParts, event: FlowEvent): MonitorEvent {
  const { protocol, icmp, tcpFlags, connection } = event;
  const isIcmp = protocol === PROTOCOL.ICMP || protocol === PROTOCOL.ICMPv6;
  const policies = deciders(parts, event);
  return {
    type: event.type,
    time: new Date(event.time).toISOString(),
    endpoint: event.endpoint,
    direction: event.direction,
    source: namePeer(parts, event.source),
    destination: namePeer(parts, event.destination),
    protocol: protocolName(protocol),
    ...(isIcmp && { icmp }),
    ...(protocol === PROTOCOL.TCP && tcpFlags !== 0 && { tcpFlags: tcpFlagNames(tcpFlags) }),
    reason: reasonOf(event),
    ...(event.type === 'policy-verdict' && { verdict: event.verdict }),
    ...(connection === 'reply' && { reply: true }),
    ifindex: event.ifindex,
    length: event.length,
    ...(policies.length > 0 && { policies }),
  };
}

function reasonOf(event: FlowEvent): string {
  switch (event.type) {
    case 'drop':
      return event.reasonText;
    case 'trace':
      return event.point;
    case 'policy-verdict':
      return event.match;
  }
}

function namePeer({ identities, ipcache }: MonitorParts, { address, port, identity }: FlowPeer): MonitorPeer {
  const labels = identities.find(identity)?.labels.map(formatLabel);
  const record = address && ipcache.lookup(address);
  return {
    ip: address === undefined ? '' : formatAddress(address),
    port,
    identity,
    ...(labels && { labels }),
    ...(record?.podName !== undefined && { pod: `${record.namespace ?? ''}/${record.podName}` }),
  };
}
