import type { QueryRecord } from '../../dns-proxy/contract.ts';
import type { MonitorEvent, MonitorPeer } from '../api/models.ts';
import type { EndpointManager } from '../endpoint/manager.ts';
import type { Subscription } from '../flow/broadcast.ts';
import { tcpFlagNames, type FlowEvent, type FlowPeer } from '../flow/event.ts';
import type { IdentityRegistry } from '../identity/registry.ts';
import type { Ipcache } from '../ipcache/ipcache.ts';
import { formatAddress, parseAddress } from '../model/address.ts';
import { endpointId } from '../model/endpoint.ts';
import { identityId } from '../model/identity.ts';
import { formatLabel } from '../model/labels.ts';
import { PROTOCOL, protocolName } from '../model/port.ts';
import type { PolicyEngine } from '../policy/contract.ts';
import { deciders } from './deciders.ts';
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
 * `types`, or all when there are none.
 */
export async function* monitorEvents(
  parts: MonitorParts,
  signal: AbortSignal,
  types: readonly MonitorEvent['type'][],
): AsyncGenerator<MonitorEvent> {
  const wanted = types.length === 0 ? undefined : new Set<string>(types);
  using packets = parts.kernel.events(CAPACITY, wanted);
  using queries = wanted?.has('l7') === false ? undefined : parts.dns.watchQueries(CAPACITY);
  const close = (): void => {
    packets.close();
    queries?.close();
  };
  signal.addEventListener('abort', close, { once: true });
  if (signal.aborted) return;
  const batches = merged(
    named(packets, (event) => nameEvent(parts, event)),
    ...(queries === undefined ? [] : [named(queries, (record) => nameQuery(parts, record))]),
  );
  for await (const batch of batches) yield* batch;
}

/** Batches of a subscription in words; an event tells how many never came before it. */
async function* named<T>(from: Subscription<T>, name: (event: T) => MonitorEvent): AsyncGenerator<MonitorEvent[]> {
  let [untold, unsaid] = [0, 0];
  for await (const { events, lost, limited } of from) {
    untold += lost;
    unsaid += limited;
    const [first, ...others] = events.map(name);
    if (first === undefined) continue;
    yield [{ ...first, ...(untold > 0 && { lost: untold }), ...(unsaid > 0 && { limited: unsaid }) }, ...others];
    untold = unsaid = 0;
  }
}

/** What either has, as it comes, until both have ended. */
async function* merged<T>(...sources: readonly AsyncGenerator<T>[]): AsyncGenerator<T> {
  const waiting = new Map(sources.map((source) => [source, next(source)]));
  try {
    while (waiting.size > 0) {
      const { source, result } = await Promise.race(waiting.values());
      if (result.done === true) waiting.delete(source);
      else {
        waiting.set(source, next(source));
        yield result.value;
      }
    }
  } finally {
    // The subscriptions beneath are closed by whoever made them, which ends what is still waiting.
    for (const source of waiting.keys()) void source.return(undefined);
  }
}

async function next<T>(source: AsyncGenerator<T>) {
  return { source, result: await source.next() };
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
