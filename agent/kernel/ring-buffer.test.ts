import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BpfObject } from './bpf-object.ts';
import { type RecordReader, RingBuffer, type RingBufferOptions } from './ring-buffer.ts';
import { compileBpf } from './testbed.ts';
import { programTestRun } from './test-run.ts';

const SIZE = 256 * 1024;
/** Key of an array's one entry. */
const FIRST = Buffer.alloc(4);

/**
 * Emits a numbered record of 8 to 64 bytes a packet until it has come to the goal; `discard` gives one up. A test run that
 * a signal breaks off (a paused machine is enough) is begun again: the goal keeps it from emitting more than was asked.
 */
const EMITTER = compileBpf(`
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
char LICENSE[] SEC("license") = "GPL";
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, ${SIZE}); } events SEC(".maps");
struct state { __u64 next; __u64 goal; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, struct state); } state SEC(".maps");
SEC("tc") int emit(struct __sk_buff *skb) {
  __u32 zero = 0; __u64 record[8] = {};
  struct state *s = bpf_map_lookup_elem(&state, &zero);
  if (!s) return 2;
  if (s->next >= s->goal) return 0;
  record[0] = s->next;
  if (bpf_ringbuf_output(&events, record, 8 + (s->next % 8) * 7, 0)) return 1;
  s->next++;
  return 0;
}
SEC("tc") int discard(struct __sk_buff *skb) {
  __u64 *r = bpf_ringbuf_reserve(&events, 8, 0);
  if (!r) return 1;
  bpf_ringbuf_discard(r, 0);
  return 0;
}
`);

interface Bench extends Disposable {
  readonly ring: RingBuffer;
  /** Emits so many records, as long as they fit. @returns 0 when all did */
  emit(count: number): number;
  discard(): void;
  open(read: RecordReader, options?: RingBufferOptions): RingBuffer;
  /** Resolves once the reader has seen this many records in all. */
  seen(count: number): Promise<void>;
  readonly numbers: number[];
}

function bench(options?: RingBufferOptions): Bench {
  const stack = new DisposableStack();
  const object = stack.use(BpfObject.load({ name: 'emitter', elf: EMITTER }));
  const fd = object.mapFd('events');
  const state = stack.use(object.map('state'));
  const numbers: number[] = [];
  let waiting: { count: number; resolve: () => void } | undefined;
  const open = (read: RecordReader, own?: RingBufferOptions): RingBuffer => stack.use(RingBuffer.open(fd, read, own));
  const ring = open((data, offset, length) => {
    const number = Number(data.getBigUint64(offset, true));
    assert.equal(length, 8 + (number % 8) * 7);
    numbers.push(number);
    if (waiting !== undefined && numbers.length >= waiting.count) waiting.resolve();
  }, options);
  const run = (program: string, repeat: number): number =>
    programTestRun(object.program(program).fd, { data: Buffer.alloc(64), repeat }).returnValue;
  return {
    ring,
    numbers,
    open,
    emit: (count) => {
      const value = state.lookup(FIRST)!;
      value.writeBigUInt64LE(value.readBigUInt64LE() + BigInt(count), 8);
      state.update(FIRST, value);
      return run('emit', count);
    },
    discard: () => void run('discard', 1),
    seen: (count) =>
      new Promise((resolve) => {
        waiting = { count, resolve };
        if (numbers.length >= count) resolve();
      }),
    [Symbol.dispose]: () => stack.dispose(),
  };
}

test('50,000 records in bursts arrive on the event loop, in order, none lost, many times around the buffer', async () => {
  using b = bench();
  for (let sent = 5000; sent <= 50_000; sent += 5000) {
    assert.equal(b.emit(5000), 0);
    await b.seen(sent);
  }
  assert.deepEqual(b.numbers, Array.from({ length: 50_000 }, (_, i) => i)); // prettier-ignore
  const { records, backlog, discarded, peakBacklog } = b.ring.stats;
  assert.deepEqual({ records, backlog, discarded }, { records: 50_000, backlog: 0, discarded: 0 });
  assert(peakBacklog > 0 && peakBacklog <= SIZE);
});

test('a drain stops at its cap and goes on in the next turn', async () => {
  using b = bench({ maxPerTurn: 100 });
  b.emit(250);
  assert.equal(b.ring.drain(), 100);
  assert.equal(b.numbers.length, 100);
  assert(b.ring.backlog > 0);
  await b.seen(250);
  assert.equal(b.ring.backlog, 0);
  assert.equal(b.ring.stats.capped, 2);
});

test('records that gather wake the reader once, and none waits for ever', async () => {
  const gatherMs = 20;
  using b = bench({ gatherMs, maxPerTurn: 100 });
  const started = performance.now();
  let sent = 0;
  for (; performance.now() - started < 10 * gatherMs; sent++) {
    b.emit(1);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await b.seen(sent);
  const elapsed = performance.now() - started;
  assert.deepEqual(b.numbers, Array.from({ length: sent }, (_, i) => i)); // prettier-ignore
  const { wakeups } = b.ring.stats;
  assert(wakeups > 1 && wakeups <= elapsed / (gatherMs - 1) + 1, `${wakeups} wakeups in ${elapsed} ms`);
  // More than a turn may read.
  b.emit(250);
  await b.seen(sent + 250);
});

test('a full buffer refuses records, says so, and loses none that it took', async () => {
  using b = bench();
  assert.equal(b.emit(20_000), 1);
  await b.seen(1);
  b.ring.drain();
  assert.equal(b.ring.stats.nearlyFull, 1);
  const taken = b.numbers.length;
  assert(taken < 20_000);
  assert.equal(b.emit(1), 0);
  await b.seen(taken + 1);
  assert.deepEqual(b.numbers, Array.from({ length: taken + 1 }, (_, i) => i)); // prettier-ignore
});

test('discarded records are stepped over', async () => {
  using b = bench();
  b.discard();
  b.emit(1);
  b.discard();
  await b.seen(1);
  b.ring.drain();
  assert.equal(b.ring.stats.discarded, 2);
  assert.equal(b.ring.stats.records, 1);
});

test('a reader that throws loses its record only; a reader may close its buffer', () => {
  using b = bench();
  b.ring.close();
  const numbers: bigint[] = [];
  const ring = b.open((data, offset) => {
    const number = data.getBigUint64(offset, true);
    if (number === 1n) throw new Error('unreadable');
    numbers.push(number);
    if (number === 3n) ring.close();
  });
  b.emit(6);
  assert.throws(() => ring.drain(), /unreadable/);
  ring.drain();
  assert.deepEqual(numbers, [0n, 2n, 3n]);
  assert.equal(ring.drain(), 0);
  assert.equal(ring.backlog, 0);
  // What it did not read is still there for the next reader.
  const rest: bigint[] = [];
  const next = b.open((data, offset) => void rest.push(data.getBigUint64(offset, true)));
  next.drain();
  assert(rest.includes(4n) && rest.includes(5n));
});

test('what is no ring buffer cannot be mapped', () => {
  assert.throws(() => RingBuffer.open(0, () => undefined), { code: 'SYSCALL_FAILED' });
});
