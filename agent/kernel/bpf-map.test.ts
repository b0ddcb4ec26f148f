import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BPF_F_NO_PREALLOC, MAP_TYPE, type MapSpec } from './bpf-syscall.ts';
import { BpfMap, UPDATE } from './bpf-map.ts';
import { ERRNO, KernelError } from './errno.ts';
import { MapBatch } from './map-batch.ts';
import { pinFolder } from './testbed.ts';

const hash = (extra: Partial<MapSpec> = {}): BpfMap =>
  BpfMap.create({ type: MAP_TYPE.HASH, keySize: 4, valueSize: 8, maxEntries: 100, name: 'weir_test', ...extra });

function u32(...numbers: number[]): Buffer {
  const bytes = Buffer.alloc(numbers.length * 4);
  numbers.forEach((n, i) => bytes.writeUInt32LE(n, i * 4));
  return bytes;
}

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

async function read(map: BpfMap): Promise<Map<number, number>> {
  const found = new Map<number, number>();
  for await (const { key, value } of map.entries()) found.set(key.readUInt32LE(), value.readUInt32LE());
  return found;
}

test('single entries: update, lookup, delete, take, and their absent cases', () => {
  using map = hash();
  assert.equal(map.lookup(u32(1)), undefined);
  assert.equal(map.update(u32(1), u32(7, 8)), true);
  assert.deepEqual(map.lookup(u32(1)), u32(7, 8));
  assert.equal(map.update(u32(1), u32(9, 9), UPDATE.NOEXIST), false);
  assert.equal(map.update(u32(2), u32(9, 9), UPDATE.EXIST), false);
  assert.deepEqual(map.lookup(u32(1)), u32(7, 8));
  assert.equal(map.delete(u32(1)), true);
  assert.equal(map.delete(u32(1)), false);
  map.update(u32(3), u32(1, 2));
  assert.deepEqual(map.take(u32(3)), u32(1, 2));
  assert.equal(map.take(u32(3)), undefined);
});

test('a full map says so by code, names itself and keeps what it holds', async () => {
  for (const spec of [{}, { type: MAP_TYPE.LPM_TRIE, flags: BPF_F_NO_PREALLOC, keySize: 8 }] as const) {
    using map = hash({ ...spec, maxEntries: 2 });
    const key = (n: number): Buffer => (map.keySize === 8 ? u32(32, n) : u32(n));
    map.update(key(1), u32(1, 0));
    map.update(key(2), u32(2, 0));
    const full = (error: unknown): boolean =>
      error instanceof KernelError && error.code === 'BPF_MAP_FULL' && error.message.includes('weir_test');
    assert.throws(() => map.update(key(3), u32(3, 0)), full);
    await assert.rejects(map.updateBatch(key(3), u32(3, 0)), full);
    assert.equal((await Array.fromAsync(map.entries())).length, 2);
  }
});

test('keys and values of the wrong size never reach the kernel', async () => {
  using map = hash();
  assert.throws(() => map.lookup(u32(1, 2)), /key of 8 bytes where the map wants 4/);
  assert.throws(() => map.update(u32(1), u32(1)), /value of 4 bytes where the map wants 8/);
  await assert.rejects(map.updateBatch(u32(1, 2), u32(1)), /values of 4 bytes where the map wants 16/);
  await assert.rejects(map.deleteBatch(Buffer.alloc(5)), /keys of 5 bytes/);
});

test('batches of 10000: written, scanned and deleted in chunks, hash and LPM', async () => {
  const count = 10_000;
  for (const spec of [{}, { type: MAP_TYPE.LPM_TRIE, flags: BPF_F_NO_PREALLOC, keySize: 8 }] as const) {
    using map = hash({ ...spec, maxEntries: count });
    const keys = map.keySize === 8 ? u32(...range(count).flatMap((n) => [32, n])) : u32(...range(count));
    await map.updateBatch(keys, u32(...range(count).flatMap((n) => [n, 1])));
    const seen = new Set<number>();
    for await (const { key, value } of map.entries()) {
      assert.equal(key.readUInt32LE(map.keySize - 4), value.readUInt32LE());
      seen.add(value.readUInt32LE());
    }
    assert.equal(seen.size, count);
    assert.equal(await map.deleteBatch(keys), count);
    assert.equal((await Array.fromAsync(map.entries())).length, 0);
  }
});

test('a batch delete steps over absent keys and counts the others', async () => {
  using map = hash();
  await map.updateBatch(u32(...range(20)), u32(...range(20).flatMap((n) => [n, 0])));
  assert.equal(await map.deleteBatch(u32(50, 3, 51, 52, 4, 53)), 2);
  assert.equal(await map.deleteBatch(u32(...range(100))), 18);
  assert.equal(await map.deleteBatch(Buffer.alloc(0)), 0);
  assert.equal((await read(map)).size, 0);
});

test('a scan grows its buffers when one bucket of the hash holds more than fits', async () => {
  // A chunk holds one value of this size, and 16 keys hardly fall into 16 buckets of their own.
  using map = hash({ maxEntries: 16, valueSize: 600_000 });
  for (const n of range(16)) map.update(u32(n), Buffer.alloc(600_000, n));
  const found = await Array.fromAsync(map.entries(), ({ key, value }) => [key.readUInt32LE(), value[0], value.at(-1)]);
  found.sort(([a], [b]) => a! - b!);
  assert.deepEqual(found, range(16).map((n) => [n, n, n])); // prettier-ignore
});

test('per-CPU values are those of every CPU', () => {
  using map = hash({ type: MAP_TYPE.PERCPU_ARRAY, maxEntries: 1, valueSize: 4 });
  assert.equal(map.valueSize % 8, 0);
  const value = Buffer.alloc(map.valueSize);
  for (let cpu = 0; cpu < value.length / 8; cpu++) value.writeUInt32LE(cpu + 1, cpu * 8);
  map.update(u32(0), value);
  assert.deepEqual(map.lookup(u32(0)), value);
});

test('arrays of maps, which have no batches everywhere, are scanned one by one', async () => {
  using map = hash({ type: MAP_TYPE.ARRAY, maxEntries: 3 });
  map.update(u32(2), u32(5, 0));
  assert.deepEqual(await read(map), new Map([[0, 0], [1, 0], [2, 5]])); // prettier-ignore
  assert.deepEqual(map.nextKey(), u32(0));
  assert.deepEqual(map.nextKey(u32(0)), u32(1));
  assert.equal(map.nextKey(u32(2)), undefined);
});

test('pinned maps outlive their descriptor; nothing pinned is undefined', () => {
  using pins = pinFolder();
  assert.equal(BpfMap.openPinned(pins.at('m')), undefined);
  {
    using map = hash();
    map.update(u32(1), u32(2, 3));
    map.pin(pins.at('m'));
  }
  using again = BpfMap.openPinned(pins.at('m'));
  assert.deepEqual(again?.lookup(u32(1)), u32(2, 3));
  assert.equal(again.name, 'm');
  assert.equal(again.maxEntries, 100);
});

test('a frozen map refuses user space', () => {
  using map = hash({ type: MAP_TYPE.ARRAY });
  map.freeze();
  assert.throws(() => map.update(u32(0), u32(1, 1)), { code: 'BPF_MAP_FAILED', errno: 1 });
});

test('a scan that is disturbed goes on, unless it is disturbed for ever', async (t) => {
  using map = hash();
  map.update(u32(1), u32(7, 0));
  // eslint-disable-next-line @typescript-eslint/unbound-method -- called as a method below
  const lookup = MapBatch.prototype.lookup;
  let disturbances = 1;
  t.mock.method(MapBatch.prototype, 'lookup', function (this: MapBatch, first: boolean) {
    const got = lookup.call(this, first);
    return disturbances-- > 0 ? { ...got, errno: ERRNO.EAGAIN } : got;
  });
  assert.deepEqual([...(await read(map))], [[1, 7]]);
  disturbances = Infinity;
  await assert.rejects(read(map), { code: 'BPF_MAP_FAILED' });
});
