/** The scale bench in small: that it runs to its end, and what it measures is measured. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { measureScale, QUICK, type Row } from '../bench/scale.ts';

test('the scale bench measures an agent in a small cluster', async () => {
  const rows: Row[] = [];
  for await (const row of measureScale(QUICK)) rows.push(row);
  const measured = (what: RegExp): number[] =>
    rows.filter((row) => what.test(row.what)).flatMap(({ found }) => found.match(/\d+(\.\d+)?/g)!.map(Number));
  for (const what of [
    /first start/,
    /^ADD/,
    /pod changes a second/,
    /policy change in the kernel/,
    /at once/,
    /restart/,
  ])
    assert.ok(measured(what).length > 0, `no figure for ${what}`);
  assert.doesNotMatch(rows.map(({ found }) => found).join(), /NaN|undefined|Infinity/);
});
