import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { BpfMap } from '../agent/kernel/bpf-map.ts';
import { BpfObject } from '../agent/kernel/bpf-object.ts';
import { programTestRun } from '../agent/kernel/test-run.ts';
import { COVERAGE_MAP } from '../test/datapath/objects.ts';
import { coverageBlocks, type Block } from './coverage-counters.ts';
import { compileInstrumented } from './coverage-instrument.ts';
import { keptOffsets } from './coverage-kept.ts';
import { coverageReport, neverReached, percent } from './coverage-report.ts';

const SOURCE = `#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
__attribute__((section(".rodata.config"))) const volatile unsigned char on;
SEC("tc") int program(struct __sk_buff *skb)
{
	if (skb->len > 100)
		bpf_printk("long");
	if (on)
		bpf_printk("on");
	return 0;
}
char LICENSE[] SEC("license") = "GPL";
`;
const lineOf = (text: string): number => SOURCE.split('\n').findIndex((line) => line.includes(text)) + 1;

describe('an instrumented program', () => {
  let folder: string;
  let elf: Buffer;
  let blocks: readonly Block[];
  before(async () => {
    folder = mkdtempSync(path.join(os.tmpdir(), 'weir-coverage-test-'));
    writeFileSync(path.join(folder, 'program.c'), SOURCE);
    await compileInstrumented(path.join(folder, 'program.c'), path.join(folder, 'program.o'));
    elf = readFileSync(path.join(folder, 'program.o'));
    blocks = coverageBlocks(elf, COVERAGE_MAP);
  });
  after(() => rmSync(folder, { recursive: true }));

  const load = (on: number): BpfObject =>
    BpfObject.load({ name: 'program', elf, data: { '.rodata.config': (bytes) => void bytes.writeUInt8(on) } });
  const linesOf = (offsets: ReadonlySet<number>): Set<number> =>
    new Set(blocks.filter(({ offset }) => offsets.has(offset)).map(({ line }) => line));

  function ran(object: BpfObject, bytes: number): Set<number> {
    programTestRun(object.program('program').fd, { data: Buffer.alloc(bytes) });
    const values = new BpfMap(object.mapFd(COVERAGE_MAP)).lookup(Buffer.alloc(4))!;
    return new Set(blocks.map(({ offset }) => offset).filter((offset) => values[offset] === 1));
  }

  test('notes the blocks that ran, and no others', () => {
    using object = load(0);
    assert.ok(!linesOf(ran(object, 60)).has(lineOf('"long"')));
    assert.ok(linesOf(ran(object, 160)).has(lineOf('"long"')));
    assert.ok(!linesOf(ran(object, 160)).has(lineOf('"on"')));
  });

  test('keeps what its configuration keeps', () => {
    for (const on of [0, 1]) {
      using object = load(on);
      assert.equal(linesOf(keptOffsets(object, 'program')).has(lineOf('"on"')), on === 1);
      assert.ok(linesOf(keptOffsets(object, 'program')).has(lineOf('"long"')));
    }
  });
});

describe('the report', () => {
  const block = (offset: number, at: string, line: number): Block => ({
    offset,
    function: at,
    file: 'bpf/a.h',
    line,
    column: 1,
  });
  const report = coverageReport([
    {
      object: 'one',
      blocks: [block(0, 'f', 1), block(1, 'f', 2), block(2, 'f', 2), block(3, 'g', 3), block(4, 'g', 4)],
      kept: new Set([0, 1, 2, 3]),
      reached: new Set([0, 1]),
    },
    { object: 'two', blocks: [block(0, 'f', 1)], kept: new Set<number>(), reached: new Set([0]) },
  ]);

  test('counts what is kept or ran, by function and by source', () => {
    assert.deepEqual(report.blocks, { total: 5, reached: 3 });
    assert.deepEqual(
      report.functions.map(({ object, function: name, blocks }) => [object, name, blocks.reached, blocks.total]),
      [
        ['one', 'f', 2, 3],
        ['one', 'g', 0, 1],
        ['two', 'f', 1, 1],
      ],
    );
    assert.deepEqual(report.lines, { total: 3, reached: 2 });
  });

  test('names lines that were missed somewhere, and those that were never reached', () => {
    assert.deepEqual(report.files[0]!.missed, [
      { line: 2, never: false, missedIn: ['one/f'] },
      { line: 3, never: true, missedIn: ['one/g'] },
    ]);
    assert.equal(
      neverReached(report, () => ['', '', '\tdrop();']),
      'bpf/a.h:3: drop();',
    );
  });

  test('all is 100 %, and nothing else is', () => {
    assert.equal(percent({ total: 3000, reached: 3000 }), '100.0');
    assert.equal(percent({ total: 3000, reached: 2999 }), '99.9');
  });
});
