/** Scenarios with the answers of a peer: the verdict of every peer and port, before and after updates. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { check, mismatchText } from '../../agent/policy/check.ts';
import type { ScenarioLine } from '../../agent/policy/scenario.ts';

const folder = new URL('policy/', import.meta.url);

for (const file of readdirSync(folder).sort()) {
  describe(file, () => {
    const lines = readFileSync(new URL(file, folder), 'utf8').split('\n').filter(Boolean);
    for (const line of lines.map((text) => JSON.parse(text) as ScenarioLine)) {
      test(line.scenario.name, () => {
        assert.deepEqual(check(line).map(mismatchText), []);
      });
    }
  });
}
