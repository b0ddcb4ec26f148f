/** Events without a kernel, for tests. */
import type { ConnectionStatus, FlowEvent, FlowPeer, MatchKind, PolicyVerdict, TracePoint } from './event.ts';
import * as C from '../../bpf/gen/constants.ts';
import { encode, event as codec } from '../../bpf/gen/structs.ts';

const CONNECTION: Readonly<Record<ConnectionStatus, number>> = {
  new: C.CT_STATUS_NEW,
  established: C.CT_STATUS_ESTABLISHED,
  reply: C.CT_STATUS_REPLY,
  related: C.CT_STATUS_RELATED,
  none: C.CT_STATUS_NONE,
};
const POINTS: Readonly<Record<TracePoint, number>> = {
  'to-endpoint': C.TRACE_TO_ENDPOINT,
  'to-stack': C.TRACE_TO_STACK,
  'from-network': C.TRACE_FROM_NETWORK,
  'to-network': C.TRACE_TO_NETWORK,
  'to-proxy': C.TRACE_TO_PROXY,
  'from-overlay': C.TRACE_FROM_OVERLAY,
  'to-overlay': C.TRACE_TO_OVERLAY,
};
const VERDICTS: Readonly<Record<PolicyVerdict, number>> = {
  allow: C.VERDICT_ALLOW,
  deny: C.VERDICT_DENY,
  audit: C.VERDICT_AUDIT,
  redirect: C.VERDICT_REDIRECT,
};
const MATCHES: Readonly<Record<MatchKind, number>> = {
  none: C.MATCH_NONE,
  'L3-Only': C.MATCH_L3_ONLY,
  'L3-L4': C.MATCH_L3_L4,
  'L4-Only': C.MATCH_L4_ONLY,
  all: C.MATCH_ALL,
  'L3-Proto': C.MATCH_L3_PROTO,
  'Proto-Only': C.MATCH_PROTO_ONLY,
};

/** The record of `weir_events` that decodes to `event`, on a clock that was 0 at the epoch. */
export function encodeEvent(event: FlowEvent): DataView {
  const bytes = encode(codec, {
    time: BigInt(Math.round(event.time * 1e6)),
    ...kindOf(event),
    direction: event.direction === 'egress' ? C.DIRECTION_EGRESS : C.DIRECTION_INGRESS,
    family: event.source.address?.family ?? 0,
    protocol: event.protocol,
    tcpFlags: event.tcpFlags,
    icmpType: event.icmp.type,
    icmpCode: event.icmp.code,
    endpoint: event.endpoint,
    sourcePort: event.source.port,
    destinationPort: event.destination.port,
    etherType: event.etherType,
    sourceIdentity: event.source.identity,
    destinationIdentity: event.destination.identity,
    ifindex: event.ifindex,
    length: event.length,
    cookie: event.cookie,
    hook: 0,
    ctStatus: CONNECTION[event.connection],
    source: addressBytes(event.source),
    destination: addressBytes(event.destination),
  });
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function kindOf(event: FlowEvent) {
  const none = { reason: 0, verdict: 0, match: 0, proxyPort: 0, authType: 0 };
  switch (event.type) {
    case 'drop':
      return { ...none, type: C.EVENT_DROP, reason: event.reason };
    case 'trace':
      return { ...none, type: C.EVENT_TRACE, reason: POINTS[event.point] };
    case 'policy-verdict': {
      const { reason, proxyPort, authType } = event;
      const [verdict, match] = [VERDICTS[event.verdict], MATCHES[event.match]];
      return { type: C.EVENT_POLICY_VERDICT, verdict, match, reason, proxyPort, authType };
    }
  }
}

function addressBytes({ address }: FlowPeer): Uint8Array {
  const bytes = new Uint8Array(16);
  if (address !== undefined) bytes.set(address.bytes);
  return bytes;
}
