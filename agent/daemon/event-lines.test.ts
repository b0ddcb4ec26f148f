import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { MonitorEvent } from '../api/models.ts';
import { EventBroadcast } from '../flow/event-broadcast.ts';
import type { EventBatch } from '../flow/event-batch.ts';
import { peerText, type FlowEvent } from '../flow/event.ts';
import { encodeEvent } from '../flow/testing.ts';
import { parseAddress } from '../model/address.ts';
import { identityId } from '../model/identity.ts';
import { eventLines, type EventNames } from './event-lines.ts';

const COMMON = {
  // Half a millisecond from where rounding would tell.
  time: 1_700_000_000_000.5,
  direction: 'ingress',
  connection: 'new',
  ...{ endpoint: 7, etherType: 0x800, protocol: 6, tcpFlags: 2 },
  ...{ icmp: { type: 0, code: 0 }, ifindex: 3, length: 74, cookie: 0 },
  source: { address: parseAddress('10.0.0.1'), port: 40_000, identity: identityId(1000) },
  destination: { address: parseAddress('10.0.0.2'), port: 80, identity: identityId(1001) },
} as const;
const TRACE: FlowEvent = { ...COMMON, type: 'trace', point: 'to-endpoint' };
const UNTOLD = { lost: 0, limited: 0 };

/** One batch of these events, as the kernel's reader makes it. */
async function batchOf(events: readonly FlowEvent[]): Promise<EventBatch> {
  const broadcast = new EventBroadcast(0);
  const subscription = broadcast.subscribe(events.length);
  for (const event of events) {
    const record = encodeEvent(event);
    assert.ok(broadcast.publish(record, 0, record.byteLength));
  }
  for await (const { events: batch } of subscription) return batch;
  return assert.fail('no batch');
}

/** Names that hold all there is of an event; `named` counts how many were asked for. */
class Names implements EventNames {
  named = 0;
  era: EventNames['era'] = () => 0;

  name(event: FlowEvent): MonitorEvent {
    this.named++;
    const peer = ({ port, identity, address }: FlowEvent['source']) => ({
      ...{ ip: peerText({ port: 0, identity, ...(address && { address }) }), port, identity },
      labels: ['k8s:odd="\\u0000"'],
    });
    return {
      type: event.type,
      time: new Date(event.time).toISOString(),
      ...{ endpoint: event.endpoint, direction: event.direction },
      ...{ source: peer(event.source), destination: peer(event.destination), protocol: String(event.protocol) },
      tcpFlags: [String(event.tcpFlags)],
      ...(event.protocol === 1 && { icmp: event.icmp }),
      reason: `${event.connection} ${event.type === 'trace' ? event.point : event.reason}`,
      ...{
        ifindex: event.ifindex,
        length: event.length,
        policies: [`${this.era(event.endpoint, event.time)} ${event.cookie}`],
      },
    };
  }
}

const parse = (lines: string): readonly unknown[] =>
  lines.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line) as unknown]));

describe('eventLines', () => {
  test('each line is the event as it is named, whatever it differs in from those before', async () => {
    const { source, destination } = COMMON;
    const events: readonly FlowEvent[] = [
      TRACE,
      {
        ...TRACE,
        time: TRACE.time + 0.25,
        source: { ...source, port: 40_001 },
        destination: { ...destination, port: 1 },
      },
      { ...TRACE, time: TRACE.time + 61_234, length: 1514 },
      { ...TRACE, tcpFlags: 0x11 },
      { ...TRACE, point: 'to-stack' },
      { ...TRACE, direction: 'egress' },
      { ...TRACE, connection: 'reply' },
      { ...TRACE, endpoint: 8 },
      { ...TRACE, ifindex: 4 },
      { ...TRACE, cookie: 9 },
      { ...TRACE, protocol: 1, icmp: { type: 8, code: 0 } },
      { ...TRACE, protocol: 1, icmp: { type: 8, code: 1 } },
      { ...TRACE, source: { ...source, identity: identityId(1002) } },
      { ...TRACE, destination: { ...destination, address: parseAddress('10.0.0.3') } },
      {
        ...TRACE,
        source: { ...source, address: parseAddress('fd00::1') },
        destination: { ...destination, address: parseAddress('fd00::2') },
      },
      { ...COMMON, type: 'drop', reason: 133, reasonText: 'Policy denied' },
      {
        ...COMMON,
        type: 'policy-verdict',
        verdict: 'allow',
        match: 'all',
        reason: 0,
        reasonText: '',
        proxyPort: 0,
        authType: 0,
      },
    ];
    const names = new Names();
    const twice = [...events, ...events];
    const lines = eventLines(await batchOf(twice), names, UNTOLD);
    assert.equal(names.named, events.length - 2, 'each kind once');
    assert.deepEqual(
      parse(lines),
      twice.map((event) => names.name(event)),
    );
  });

  test('names of another era are others', async () => {
    const names = new Names();
    names.era = (endpoint, time) => (endpoint === 7 && time < TRACE.time - 0.25 ? 1 : 0);
    const events = [-1, 0, -2, 1].map((after) => ({ ...TRACE, time: TRACE.time + after }));
    const lines = eventLines(await batchOf(events), names, UNTOLD);
    assert.deepEqual(
      parse(lines),
      events.map((event) => names.name(event)),
    );
  });

  test('the first says what never came before it', async () => {
    const lines = parse(eventLines(await batchOf([TRACE, TRACE]), new Names(), { lost: 3, limited: 4 }));
    const [named] = [new Names().name(TRACE)];
    assert.deepEqual(lines, [{ ...named, lost: 3, limited: 4 }, named]);
  });

  test('more than there was room for at first', async () => {
    const events = Array.from({ length: 1000 }, (_, i) => ({ ...TRACE, length: i }));
    const lines = parse(eventLines(await batchOf(events), new Names(), UNTOLD)) as MonitorEvent[];
    assert.deepEqual(
      lines.map(({ length }) => length),
      events.map(({ length }) => length),
    );
  });
});
