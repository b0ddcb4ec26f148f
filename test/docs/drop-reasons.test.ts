/** One catalogue of drop reasons: the programs use it, and the agent, the monitor, the metrics and the docs know all of it. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { decodeMetric } from '../../agent/datapath/maps/metrics.ts';
import { decodeEvent } from '../../agent/flow/event.ts';
import { EVENT_DROP, METRICS_DIRECTION_SHIFT, METRICS_INGRESS } from '../../bpf/gen/constants.ts';
import { DROP_REASONS } from '../../bpf/gen/drops.ts';
import { encode, event, traffic, u32 } from '../../bpf/gen/structs.ts';

const root = path.resolve(import.meta.dirname, '../..');
const read = (file: string): string => readFileSync(path.join(root, file), 'utf8');
const sources = ['bpf', 'bpf/lib'].flatMap((folder) =>
  readdirSync(path.join(root, folder))
    .filter((file) => /\.[ch]$/.test(file) && file !== 'drop_reasons.h')
    .map((file) => read(path.join(folder, file))),
);

/** Number, name and text of each, as the header has them. */
const CATALOGUE = Array.from(
  read('bpf/lib/drop_reasons.h').matchAll(/\bX\((\w+), (\d+), "([^"]+)"\)/g),
  ([, name, number, text]) => ({ name: `DROP_${name}`, number: Number(number), text: text! }),
);

test('the programs drop for the reasons of the catalogue, and for each of them', () => {
  const used = new Set(sources.flatMap((source) => source.match(/\bDROP_[A-Z0-9_]+\b/g) ?? []));
  for (const name of ['DROP_NONE', 'DROP_REASONS', 'DROP_ENUMERATOR', 'DROP_TEXT']) used.delete(name);
  assert.deepEqual([...used].sort(), CATALOGUE.map(({ name }) => name).sort());
  assert.equal(new Set(CATALOGUE.map(({ number }) => number)).size, CATALOGUE.length, 'numbers differ');
  assert.equal(new Set(CATALOGUE.map(({ text }) => text)).size, CATALOGUE.length, 'texts differ');
});

test('the agent has the same', () => {
  const known = Array.from(DROP_REASONS, ([number, { name, text }]) => ({ name, number, text }));
  assert.deepEqual(known, [{ name: 'DROP_NONE', number: 0, text: 'Forwarded' }, ...CATALOGUE]);
});

test('the monitor and the metrics name each', () => {
  for (const { number, text } of CATALOGUE) {
    const record = Buffer.alloc(event.size);
    record.writeUInt8(EVENT_DROP, 8);
    record.writeUInt8(number, 9);
    const drop = decodeEvent(new DataView(record.buffer, record.byteOffset), 0, event.size, 0);
    assert.equal(drop?.type === 'drop' && drop.reasonText, text);
    const index = encode(u32, (METRICS_INGRESS << METRICS_DIRECTION_SHIFT) | number);
    assert.equal(decodeMetric(index, encode(traffic, { packets: 1n, bytes: 60n })).reasonText, text);
  }
});

test('docs/datapath.md explains each, and none besides', () => {
  const [, table] = /\n\| reason \| what it means \|\n\|---\|---\|\n((?:\|.*\n)+)/.exec(read('docs/datapath.md'))!;
  const texts = table!.split('\n').flatMap((line) => (line === '' ? [] : line.split('|')[1]!.trim().split(', ')));
  assert.deepEqual(texts.sort(), CATALOGUE.map(({ text }) => text).sort());
});
