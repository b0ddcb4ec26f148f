import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../model/manual-clock.ts';
import { MAPS } from '../../bpf/gen/maps.ts';
import { ct4Key, ctEntry, encode } from '../../bpf/gen/structs.ts';
import { ConntrackGc } from './conntrack-gc.ts';
import { ConntrackMap } from './maps/conntrack.ts';
import { MemoryMap } from './maps/memory-map.ts';

const IDLE = { judged: 1n, packets: [1n, 0n], bytes: [60n, 0n], peerIdentity: 9, cookie: 0 } as const;
const REST = {
  ...{ policyPort: 80, proxyPort: 0, revNat: 0, direction: 1, flags: 0, touched: 0, peerEndpoint: 0 },
  ...{ flagsTraced: new Uint8Array(2), traced: 0, traceDue: 0 },
} as const;

test('collects what has expired, an interval after each collection, and survives a fault', async () => {
  const clock = new ManualClock();
  const map = new MemoryMap(MAPS.weir_ct4);
  for (const [port, expires] of [
    [1, 10n],
    [2, 2000n],
    [3, 5000n],
  ] as const) {
    const ends = { local: Uint8Array.of(10, 0, 0, 1), remote: Uint8Array.of(10, 0, 0, 2), remotePort: 80 };
    map.update(
      encode(ct4Key, { ...ends, localPort: port, protocol: 6, scope: 0 }),
      encode(ctEntry, { ...IDLE, ...REST, expires }),
    );
  }
  const told: string[] = [];
  const gc = new ConntrackGc({
    maps: [new ConntrackMap(4, map)],
    clock,
    monotonic: () => BigInt(clock.now()),
    intervalMs: 1000,
    onCollected: ({ alive, deleted }, startedAt) => told.push(`${startedAt}: ${deleted} gone, ${alive} alive`),
    onBegin: (startedAt) => {
      if (startedAt === 4000) return undefined;
      return ({ localPort }) => told.push(`alive ${localPort}`);
    },
    onError: (error) => told.push(String(error)),
  });
  gc.start();
  await clock.advance(1000);
  assert.deepEqual(told.splice(0), ['alive 2', 'alive 3', '1000: 1 gone, 2 alive']);
  map.beforeChange = () => {
    throw new Error('busy');
  };
  await clock.advance(1000);
  map.beforeChange = () => undefined;
  assert.deepEqual(told.splice(0), ['alive 3', 'Error: busy']);
  await clock.advance(1000);
  assert.deepEqual(told.splice(0), ['alive 3', '3000: 1 gone, 1 alive']);
  await clock.advance(1000);
  assert.deepEqual(told.splice(0), ['4000: 0 gone, 1 alive'], 'nobody wants to hear');
  await gc.stop();
  await clock.advance(10_000);
  assert.deepEqual(told, []);
});
