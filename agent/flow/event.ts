import { formatAddress, type Address } from '../model/address.ts';
import type { IdentityId } from '../model/identity.ts';
import { identityId } from '../model/identity.ts';
import type { Direction } from '../model/mapstate.ts';
import {
  CT_STATUS_ESTABLISHED,
  CT_STATUS_NEW,
  CT_STATUS_RELATED,
  CT_STATUS_REPLY,
  DIRECTION_EGRESS,
  EVENT_DROP,
  EVENT_POLICY_VERDICT,
  EVENT_TRACE,
  MATCH_ALL,
  MATCH_L3_L4,
  MATCH_L3_ONLY,
  MATCH_L3_PROTO,
  MATCH_L4_ONLY,
  MATCH_PROTO_ONLY,
  TRACE_FROM_NETWORK,
  TRACE_FROM_OVERLAY,
  TRACE_TO_ENDPOINT,
  TRACE_TO_NETWORK,
  TRACE_TO_OVERLAY,
  TRACE_TO_PROXY,
  TRACE_TO_STACK,
  VERDICT_ALLOW,
  VERDICT_AUDIT,
  VERDICT_REDIRECT,
} from '../../bpf/gen/constants.ts';
import { DROP_REASONS } from '../../bpf/gen/drops.ts';
import { event as codec, type Event } from '../../bpf/gen/structs.ts';

/** One side of a packet. */
export interface FlowPeer {
  /** Absent when the packet is not IP. */
  readonly address?: Address;
  /** 0 when the protocol has none. */
  readonly port: number;
  readonly identity: IdentityId;
}

/** What conntrack knew of the packet. */
export type ConnectionStatus = 'new' | 'established' | 'reply' | 'related' | 'none';

interface Common {
  /** Milliseconds since the Unix epoch, with fractions. */
  readonly time: number;
  /** The endpoint whose program speaks; 0 is the host's. */
  readonly endpoint: number;
  /** As that endpoint sees it. */
  readonly direction: Direction;
  readonly source: FlowPeer;
  readonly destination: FlowPeer;
  readonly etherType: number;
  /** IANA number; 0 when the packet is not IP. */
  readonly protocol: number;
  /** The byte of flags of a TCP header. */
  readonly tcpFlags: number;
  readonly icmp: { readonly type: number; readonly code: number };
  readonly connection: ConnectionStatus;
  readonly ifindex: number;
  /** Bytes, with the link header. */
  readonly length: number;
  /** Names the policy entry that decided; 0 is none. */
  readonly cookie: number;
}

export type FlowEvent = Common &
  (
    | { readonly type: 'drop'; readonly reason: number; readonly reasonText: string }
    | { readonly type: 'trace'; readonly point: TracePoint }
    | {
        readonly type: 'policy-verdict';
        readonly verdict: PolicyVerdict;
        readonly match: MatchKind;
        /** Why it was denied; 0 when it was not. */
        readonly reason: number;
        readonly reasonText: string;
        readonly proxyPort: number;
        readonly authType: number;
      }
  );

export type TracePoint =
  'to-endpoint' | 'to-stack' | 'from-network' | 'to-network' | 'to-proxy' | 'from-overlay' | 'to-overlay';
export type PolicyVerdict = 'allow' | 'deny' | 'audit' | 'redirect';
export type MatchKind = 'none' | 'L3-Only' | 'L3-L4' | 'L4-Only' | 'all' | 'L3-Proto' | 'Proto-Only';

const CONNECTION = new Map<number, ConnectionStatus>([
  [CT_STATUS_NEW, 'new'],
  [CT_STATUS_ESTABLISHED, 'established'],
  [CT_STATUS_REPLY, 'reply'],
  [CT_STATUS_RELATED, 'related'],
]);
const POINTS = new Map<number, TracePoint>([
  [TRACE_TO_ENDPOINT, 'to-endpoint'],
  [TRACE_TO_STACK, 'to-stack'],
  [TRACE_FROM_NETWORK, 'from-network'],
  [TRACE_TO_NETWORK, 'to-network'],
  [TRACE_TO_PROXY, 'to-proxy'],
  [TRACE_FROM_OVERLAY, 'from-overlay'],
  [TRACE_TO_OVERLAY, 'to-overlay'],
]);
const VERDICTS = new Map<number, PolicyVerdict>([
  [VERDICT_ALLOW, 'allow'],
  [VERDICT_AUDIT, 'audit'],
  [VERDICT_REDIRECT, 'redirect'],
]);
const MATCHES = new Map<number, MatchKind>([
  [MATCH_L3_ONLY, 'L3-Only'],
  [MATCH_L3_L4, 'L3-L4'],
  [MATCH_L4_ONLY, 'L4-Only'],
  [MATCH_ALL, 'all'],
  [MATCH_L3_PROTO, 'L3-Proto'],
  [MATCH_PROTO_ONLY, 'Proto-Only'],
]);

/**
 * Reads one record of `weir_events`.
 *
 * @param bootTime milliseconds since the epoch at which CLOCK_MONOTONIC was 0
 * @returns undefined for kinds that this agent does not know, such as those of a newer program
 */
export function decodeEvent(data: DataView, offset: number, length: number, bootTime: number): FlowEvent | undefined {
  if (length < codec.size) return undefined;
  const raw = codec.read(data, offset);
  const common = decodeCommon(raw, bootTime);
  switch (raw.type) {
    case EVENT_DROP:
      return { ...common, type: 'drop', reason: raw.reason, reasonText: reasonText(raw.reason) };
    case EVENT_TRACE: {
      const point = POINTS.get(raw.reason);
      return point && { ...common, type: 'trace', point };
    }
    case EVENT_POLICY_VERDICT:
      return {
        ...common,
        type: 'policy-verdict',
        verdict: VERDICTS.get(raw.verdict) ?? 'deny',
        match: MATCHES.get(raw.match) ?? 'none',
        reason: raw.reason,
        reasonText: raw.reason === 0 ? '' : reasonText(raw.reason),
        proxyPort: raw.proxyPort,
        authType: raw.authType,
      };
    default:
      return undefined;
  }
}

function decodeCommon(raw: Event, bootTime: number): Common {
  return {
    time: bootTime + Number(raw.time) / 1e6,
    endpoint: raw.endpoint,
    direction: raw.direction === DIRECTION_EGRESS ? 'egress' : 'ingress',
    source: peer(raw.family, raw.source, raw.sourcePort, raw.sourceIdentity),
    destination: peer(raw.family, raw.destination, raw.destinationPort, raw.destinationIdentity),
    etherType: raw.etherType,
    protocol: raw.protocol,
    tcpFlags: raw.tcpFlags,
    icmp: { type: raw.icmpType, code: raw.icmpCode },
    connection: CONNECTION.get(raw.ctStatus) ?? 'none',
    ifindex: raw.ifindex,
    length: raw.length,
    cookie: raw.cookie,
  };
}

function peer(family: number, bytes: Uint8Array, port: number, identity: number): FlowPeer {
  const who = { port, identity: identityId(identity) };
  if (family === 4) return { ...who, address: { family: 4, bytes: bytes.slice(0, 4) } };
  return family === 6 ? { ...who, address: { family: 6, bytes } } : who;
}

/** A drop reason as Cilium's clients print it. */
export function reasonText(reason: number): string {
  return DROP_REASONS.get(reason)?.text ?? `Unknown reason ${reason}`;
}

const TCP_FLAGS = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG', 'ECE', 'CWR'] as const;

/** Names of the flags set in a TCP header's byte of flags. */
export function tcpFlagNames(flags: number): readonly string[] {
  return TCP_FLAGS.filter((_, bit) => (flags & (1 << bit)) !== 0);
}

/** `10.0.0.1:80`, `[fd00::1]:80`, or the bare address when there is no port. */
export function peerText({ address, port }: FlowPeer): string {
  if (address === undefined) return '-';
  const text = formatAddress(address);
  if (port === 0) return text;
  return address.family === 4 ? `${text}:${port}` : `[${text}]:${port}`;
}
