import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { BpfMap } from './bpf-map.ts';
import { BpfObject, LoadError, loadSummary } from './bpf-object.ts';
import { programInfo } from './bpf-info.ts';
import { programTestRun } from './test-run.ts';
import { compileBpf, pinFolder, uniqueName } from './testbed.ts';

const HEADER = `
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
char LICENSE[] SEC("license") = "GPL";
`;

/** Counts packets in a map and answers with a constant that the loader may rewrite. */
const COUNTER = compileBpf(`${HEADER}
struct config { __u32 answer; __u32 other; };
volatile const struct config config SEC(".rodata.config") = { .answer = 1, .other = 5 };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, __u32); __type(value, __u64); } counts SEC(".maps");
SEC("tc") int count(struct __sk_buff *skb) {
  __u32 key = config.answer; __u64 one = 1, *seen = bpf_map_lookup_elem(&counts, &key);
  if (seen) __sync_fetch_and_add(seen, 1); else bpf_map_update_elem(&counts, &key, &one, 0);
  return config.answer;
}
SEC("tc") int other(struct __sk_buff *skb) { return config.other; }
`);

/** Reads past what it has checked: the verifier must refuse it. */
const BAD = compileBpf(`${HEADER}
SEC("tc") int bad(struct __sk_buff *skb) { return *(int *)(long)skb->data; }
`);

const FRAME = Buffer.alloc(64);

const key = (n: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(n);
  return bytes;
};

test('constants are rewritten before the load, others keep their initial values', () => {
  using object = BpfObject.load({
    name: 'counter',
    elf: COUNTER,
    data: { '.rodata.config': (bytes) => bytes.writeUInt32LE(42, 0) },
  });
  assert.deepEqual(object.programNames.sort(), ['count', 'other']);
  assert.deepEqual(object.mapNames.sort(), ['.rodata.config', 'counts']);
  const run = programTestRun(object.program('count').fd, { data: FRAME, repeat: 3 });
  assert.equal(run.returnValue, 42);
  assert.equal(run.data.length, FRAME.length);
  assert.equal(programTestRun(object.program('other').fd, { data: FRAME }).returnValue, 5);
  assert.equal(programInfo(object.program('count').fd).name, 'count');
});

test('two loads share a pinned map; a third joins it by descriptor', () => {
  using pins = pinFolder();
  const pin = { counts: pins.at('nested/counts') };
  using first = BpfObject.load({ name: 'first', elf: COUNTER, pins: pin });
  using second = BpfObject.load({ name: 'second', elf: COUNTER, pins: pin });
  using map = BpfMap.openPinned(pin.counts)!;
  using third = BpfObject.load({ name: 'third', elf: COUNTER, reuse: { counts: map } });
  for (const object of [first, second, third]) programTestRun(object.program('count').fd, { data: FRAME });
  assert.equal(map.lookup(key(1))?.readBigUInt64LE(), 3n);
  using same = third.map('counts');
  third.close();
  assert.equal(same.lookup(key(1))?.readBigUInt64LE(), 3n);
});

test('a pinned map of another size is refused with libbpf words, and stays', () => {
  using pins = pinFolder();
  const pin = { counts: pins.at('counts') };
  BpfObject.load({ name: 'first', elf: COUNTER, pins: pin }).close();
  assert.throws(
    () => BpfObject.load({ name: 'second', elf: COUNTER, pins: pin, maxEntries: { counts: 9 } }),
    (error) => {
      assert(error instanceof LoadError);
      assert.equal(error.code, 'BPF_LOAD_FAILED');
      assert.match(error.message, /load second: .*counts.*mismatch.*EINVAL/);
      return true;
    },
  );
  assert(existsSync(pin.counts));
});

test('a map that its source marks for pinning is pinned only where the loader says', () => {
  const name = uniqueName('m').replaceAll('-', '_');
  const elf = compileBpf(`${HEADER}
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u32);
  __uint(pinning, LIBBPF_PIN_BY_NAME); } ${name} SEC(".maps");
SEC("tc") int look(struct __sk_buff *skb) { __u32 zero = 0; return bpf_map_lookup_elem(&${name}, &zero) ? 1 : 0; }
`);
  using pins = pinFolder();
  using own = BpfObject.load({ name: 'own', elf });
  using map = own.map(name);
  using joined = BpfObject.load({ name: 'joined', elf, reuse: { [name]: map } });
  using placed = BpfObject.load({ name: 'placed', elf, pins: { [name]: pins.at(name) } });
  for (const object of [own, joined, placed]) object.close();
  assert(!existsSync(`/sys/fs/bpf/${name}`));
  assert(existsSync(pins.at(name)));
});

test('maps take another size, and only the selected programs are loaded', () => {
  using pins = pinFolder();
  using object = BpfObject.load({
    name: 'sized',
    elf: COUNTER,
    maxEntries: { counts: 33 },
    pins: { counts: pins.at('counts') },
    programs: ['other'],
  });
  using map = BpfMap.openPinned(pins.at('counts'))!;
  assert.equal(map.maxEntries, 33);
  assert.equal(programTestRun(object.program('other').fd, { data: FRAME }).returnValue, 5);
  assert.throws(() => object.program('count'), /program count is not loaded/);
  assert.throws(() => object.program('nothing'), /no program nothing; it has count, other/);
});

test('a refusal of the verifier carries its whole log, its complaint in the message', () => {
  assert.throws(
    () => BpfObject.load({ name: 'bad object', elf: BAD }),
    (error) => {
      assert(error instanceof LoadError);
      assert.match(error.message, /^load bad object: R\d offset is outside of the packet: EACCES$/);
      assert.match(error.verifierLog, /processed \d+ insns/);
      assert.match(error.messages.join(''), /prog 'bad'/);
      assert.equal(error.object, 'bad object');
      return true;
    },
  );
});

test('what is no object is refused, and the next load has a clean slate', () => {
  assert.throws(() => BpfObject.load({ name: 'noise', elf: Buffer.from('not an ELF file') }), {
    code: 'BPF_LOAD_FAILED',
    verifierLog: '',
  });
  assert.throws(() => BpfObject.load({ name: 'c', elf: COUNTER, pins: { nope: '/sys/fs/bpf/nope' } }), /no map nope/);
  BpfObject.load({ name: 'counter', elf: COUNTER }).close();
});

test('the summary is the complaint before the statistics, else libbpf, else a word', () => {
  assert.equal(loadSummary('0: r0 = 1\nR2 bad\nprocessed 3 insns (limit 1)\n', ['x']), 'R2 bad');
  assert.equal(loadSummary('', ['libbpf: no luck\nmore']), 'no luck');
  assert.equal(loadSummary('', []), 'refused');
});

test('a load on a worker thread does as one in place, several at once, and a refusal is as eloquent', async () => {
  const answers = [11, 22, 33];
  const objects = await Promise.all(
    answers.map((answer) =>
      BpfObject.loadAsync({
        name: `counter ${answer}`,
        elf: COUNTER,
        data: { '.rodata.config': (bytes) => bytes.writeUInt32LE(answer, 0) },
      }),
    ),
  );
  const got = objects.map((object) => programTestRun(object.program('count').fd, { data: FRAME }).returnValue);
  for (const object of objects) object.close();
  assert.deepEqual(got, answers);
  await assert.rejects(BpfObject.loadAsync({ name: 'bad', elf: BAD }), (error) => {
    assert.ok(error instanceof LoadError);
    assert.match(error.message, /^load bad: R\d offset is outside of the packet: EACCES$/);
    return true;
  });
});
