import { DROP_POLICY_DENIED } from '../../bpf/gen/drops.ts';
import type { MonitorEvent, MonitorPeer } from '../api/models.ts';
import { tcpFlagNames, type FlowEvent, type FlowPeer } from '../flow/event.ts';
import type { IdentityRegistry } from '../identity/registry.ts';
import type { Ipcache } from '../ipcache/ipcache.ts';
import { formatAddress } from '../model/address.ts';
import { formatLabel } from '../model/labels.ts';
import { PROTOCOL, protocolName } from '../model/port.ts';
import type { PolicyEngine } from '../policy/contract.ts';
import type { RuleOrigin } from '../policy/rule.ts';
import type { NodeKernel } from './node-kernel.ts';

/** How many events may wait for one listener before it loses some. */
const CAPACITY = 8192;

export interface MonitorParts {
  readonly kernel: NodeKernel;
  readonly identities: IdentityRegistry;
  readonly ipcache: Ipcache;
  readonly engine: PolicyEngine;
}

/** The kernel's events from now on, with names for the numbers in them, until `signal` aborts. */
export async function* monitorEvents(parts: MonitorParts, signal: AbortSignal): AsyncGenerator<MonitorEvent> {
  using subscription = parts.kernel.events(CAPACITY);
  signal.addEventListener('abort', () => subscription.close(), { once: true });
  if (signal.aborted) return;
  for await (const { events, lost } of subscription) {
    for (const [i, event] of events.entries()) {
      const named = nameEvent(parts, event);
      yield i === 0 && lost > 0 ? { ...named, lost } : named;
    }
  }
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

/** Who decided: policies by name, those that turn on default deny among them, or the default that applied (S12, S14). */
function deciders({ engine }: MonitorParts, event: FlowEvent): readonly string[] {
  if (isDefaultDeny(event)) {
    const subject = event.direction === 'ingress' ? event.destination : event.source;
    const names = objectNames(engine.defaultDeniers(subject.identity, event.direction));
    return names.length > 0 ? names : [`default-deny-${event.direction}`];
  }
  const meaning = event.cookie === 0 ? undefined : engine.cookie(event.cookie);
  if (meaning === undefined) return [];
  const names = objectNames(meaning.origins);
  return names.length === 0 && meaning.derivedFrom !== undefined ? [meaning.derivedFrom] : names;
}

/** Each object once. */
function objectNames(origins: readonly RuleOrigin[]): readonly string[] {
  const names = origins.map(({ kind, namespace, name }) => `${kind} ${namespace === '' ? '' : `${namespace}/`}${name}`);
  return [...new Set(names)];
}

/** No entry matched, and that was the reason. */
function isDefaultDeny(event: FlowEvent): boolean {
  if (event.cookie !== 0 || event.type === 'trace') return false;
  return event.reason === DROP_POLICY_DENIED;
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
