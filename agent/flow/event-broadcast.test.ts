import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { EVENT_TRACE } from '../../bpf/gen/constants.ts';
import { encode, event as codec, eventOffset } from '../../bpf/gen/structs.ts';
import { parseAddress } from '../model/address.ts';
import { identityId } from '../model/identity.ts';
import { EventBroadcast } from './event-broadcast.ts';
import type { FlowEvent } from './event.ts';
import { encodeEvent } from './testing.ts';

const peer = (address: string, port: number) => ({ address: parseAddress(address), port, identity: identityId(port) });
const EVENT = {
  direction: 'egress',
  connection: 'related',
  ...{ time: 1_234, endpoint: 7, etherType: 0x86dd, protocol: 17, tcpFlags: 0 },
  ...{ icmp: { type: 1, code: 2 }, ifindex: 3, length: 70_000, cookie: 5 },
  ...{ source: peer('fd00::1', 4000), destination: peer('fd00::2', 53) },
} as const;
const DROP: FlowEvent = { ...EVENT, type: 'drop', reason: 133, reasonText: 'Policy denied' };
const TRACE: FlowEvent = { ...EVENT, type: 'trace', point: 'to-overlay' };
const VERDICT: FlowEvent = {
  ...EVENT,
  type: 'policy-verdict',
  verdict: 'redirect',
  match: 'L3-Proto',
  ...{ reason: 133, reasonText: 'Policy denied', proxyPort: 9, authType: 1 },
};

function publish(broadcast: EventBroadcast, event: FlowEvent): void {
  const record = encodeEvent(event);
  // Somewhere in a larger buffer, which is written over afterwards.
  const ring = Buffer.alloc(256, 0xff);
  ring.set(new Uint8Array(record.buffer, record.byteOffset, record.byteLength), 40);
  assert.ok(broadcast.publish(new DataView(ring.buffer, ring.byteOffset, ring.length), 40, record.byteLength));
  ring.fill(0);
}

describe('EventBroadcast', () => {
  test('subscribers get the events of their types, in order, and hear of those they missed', async () => {
    const broadcast = new EventBroadcast(1000);
    const all = broadcast.subscribe(10)[Symbol.asyncIterator]();
    const some = broadcast.subscribe(1, new Set(['drop']))[Symbol.asyncIterator]();
    for (const event of [DROP, TRACE, VERDICT, DROP]) publish(broadcast, event);
    broadcast.miss({ count: 2, cause: 'limited', kind: 'trace' });
    const [{ value: first }, { value: second }] = await Promise.all([all.next(), some.next()]);
    assert.ok(first && second);
    const late = (event: FlowEvent): FlowEvent => ({ ...event, time: event.time + 1000 });
    const decoded = (batch: typeof first.events) => Array.from({ length: batch.size }, (_, i) => batch.event(i));
    assert.deepEqual(decoded(first.events), [DROP, TRACE, VERDICT, DROP].map(late));
    assert.deepEqual([first.lost, first.limited], [0, 2]);
    assert.deepEqual(decoded(second.events), [late(DROP)]);
    assert.deepEqual([second.lost, second.limited], [1, 0]);
    const { events } = first;
    assert.deepEqual(
      [events.time(0), events.endpoint(0), events.sourcePort(0), events.destinationPort(0), events.length(0)],
      [2234, 7, 4000, 53, 70_000],
    );
    assert.throws(() => events.event(4), RangeError);
  });

  test('what no field says makes no other kind', async () => {
    const broadcast = new EventBroadcast(0);
    const events = broadcast.subscribe(10)[Symbol.asyncIterator]();
    const record = encodeEvent(TRACE);
    assert.ok(broadcast.publish(record, 0, record.byteLength));
    // Behind the last field: the kernel does not clear what it reserves.
    record.setUint32(eventOffset.destination + 16, 0xdeadbeef);
    assert.ok(broadcast.publish(record, 0, record.byteLength));
    const { value } = await events.next();
    assert.ok(value);
    assert.ok(value.events.sameKind(0, 1));
    assert.equal(value.events.kindHash(0), value.events.kindHash(1));
  });

  test('records of unknown kinds, or too short, are for nobody', () => {
    const broadcast = new EventBroadcast(0);
    const raw = codec.read(encodeEvent(TRACE));
    const published = (changes: Partial<typeof raw>, cut = 0): boolean => {
      const bytes = encode(codec, { ...raw, ...changes });
      return broadcast.publish(new DataView(bytes.buffer, bytes.byteOffset), 0, bytes.length - cut);
    };
    assert.ok(published({}));
    assert.ok(!published({ type: 77 }));
    assert.ok(!published({ type: EVENT_TRACE, reason: 7 }));
    assert.ok(!published({}, 1));
  });
});
