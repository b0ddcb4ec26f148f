import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { formatAddress, parseAddress } from '../model/address.ts';
import {
  CT_STATUS_REPLY,
  DIRECTION_EGRESS,
  EVENT_DROP,
  EVENT_POLICY_VERDICT,
  EVENT_TRACE,
  MATCH_L3_L4,
  TRACE_TO_STACK,
  VERDICT_REDIRECT,
} from '../../bpf/gen/constants.ts';
import { DROP_POLICY_DENIED } from '../../bpf/gen/drops.ts';
import { encode, event, type Event } from '../../bpf/gen/structs.ts';
import { decodeEvent, peerText, tcpFlagNames, type FlowEvent } from './event.ts';
import { bootTime } from './event-reader.ts';

const RAW: Event = {
  time: 1_500_000n,
  type: EVENT_DROP,
  reason: DROP_POLICY_DENIED,
  direction: DIRECTION_EGRESS,
  family: 4,
  protocol: 6,
  tcpFlags: 0x12,
  icmpType: 0,
  icmpCode: 0,
  endpoint: 7,
  sourcePort: 4000,
  destinationPort: 80,
  etherType: 0x0800,
  sourceIdentity: 1000,
  destinationIdentity: 1001,
  ifindex: 3,
  length: 66,
  cookie: 5,
  hook: 1,
  ctStatus: CT_STATUS_REPLY,
  verdict: 0,
  match: 0,
  proxyPort: 0,
  authType: 0,
  source: parseAddress('10.0.0.1').bytes,
  destination: parseAddress('10.0.0.2').bytes,
};

function decoded(changes: Partial<Event>, cut = 0): FlowEvent | undefined {
  const bytes = encode(event, { ...RAW, ...changes });
  const ring = new Uint8Array(200);
  ring.set(bytes, 40);
  return decodeEvent(new DataView(ring.buffer), 40, bytes.length - cut, 1000);
}

describe('decodeEvent', () => {
  test('a drop: who, where and why', () => {
    const drop = decoded({});
    assert.ok(drop?.type === 'drop');
    assert.equal(drop.reasonText, 'Policy denied');
    assert.equal(drop.time, 1001.5);
    assert.equal(peerText(drop.source), '10.0.0.1:4000');
    assert.deepEqual([drop.source.identity, drop.destination.identity], [1000, 1001]);
    assert.deepEqual([drop.endpoint, drop.direction, drop.connection, drop.cookie], [7, 'egress', 'reply', 5]);
    assert.deepEqual(tcpFlagNames(drop.tcpFlags), ['SYN', 'ACK']);
  });

  test('IPv6, and packets without addresses', () => {
    const address = parseAddress('fd00::2');
    const trace = decoded({ type: EVENT_TRACE, reason: TRACE_TO_STACK, family: 6, destination: address.bytes });
    assert.ok(trace?.type === 'trace');
    assert.equal(trace.point, 'to-stack');
    assert.equal(formatAddress(trace.destination.address!), 'fd00::2');
    assert.equal(peerText(trace.destination), '[fd00::2]:80');
    const arp = decoded({ family: 0 });
    assert.equal(peerText(arp!.source), '-');
  });

  test('a verdict', () => {
    const verdict = decoded({
      type: EVENT_POLICY_VERDICT,
      reason: 0,
      verdict: VERDICT_REDIRECT,
      match: MATCH_L3_L4,
      proxyPort: 9000,
    });
    assert.ok(verdict?.type === 'policy-verdict');
    assert.deepEqual(
      [verdict.verdict, verdict.match, verdict.proxyPort, verdict.reasonText],
      ['redirect', 'L3-L4', 9000, ''],
    );
    // What this agent does not know is not let through as an allowance.
    const unknown = decoded({ type: EVENT_POLICY_VERDICT, verdict: 99, reason: 250 });
    assert.ok(unknown?.type === 'policy-verdict');
    assert.deepEqual([unknown.verdict, unknown.reasonText], ['deny', 'Unknown reason 250']);
  });

  test('records of unknown kinds, or too short, are not events', () => {
    assert.equal(decoded({ type: 77 }), undefined);
    assert.equal(decoded({ type: EVENT_TRACE, reason: 77 }), undefined);
    assert.equal(decoded({}, 1), undefined);
  });

  test('boot time is where the monotonic clock was zero', () => {
    assert.equal(bootTime(10_000, 4_000_000_000n), 6000);
  });
});
