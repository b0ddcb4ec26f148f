/** Small facts of a peer about map entries: precedence, merged parsers, port ranges. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { mergeParsers } from '../../agent/policy/peerpolicy.ts';
import { maskedPorts } from '../../agent/policy/ports.ts';
import { precedence } from '../../agent/policy/precedence.ts';

function load(name: string): unknown {
  return JSON.parse(readFileSync(new URL(`units/${name}`, import.meta.url), 'utf8'));
}

interface Ranks {
  readonly precedence: readonly {
    readonly priority: number;
    readonly verdict: 'allow' | 'deny' | 'pass' | 'redirect';
    readonly listenerPriority: number;
    readonly precedence: number;
  }[];
  readonly l7ParserMerge: readonly { readonly a: string; readonly b: string; readonly merged?: string }[];
}

const ranks = load('precedence.json') as Ranks;

test('precedence', () => {
  for (const { priority, verdict, listenerPriority, precedence: expected } of ranks.precedence) {
    const redirect = verdict === 'redirect';
    const found = precedence(priority, redirect ? 'allow' : verdict, redirect, listenerPriority);
    assert.equal(found, expected, `${verdict} of level ${priority}, listener ${listenerPriority}`);
  }
});

test('which layer 7 parsers merge', () => {
  for (const { a, b, merged } of ranks.l7ParserMerge) assert.equal(mergeParsers(a, b), merged, `${a} and ${b}`);
});

test('port ranges as masked prefixes', () => {
  const cases = load('port-ranges.json') as readonly { start: number; end: number; prefixes: [number, number][] }[];
  const sorted = (prefixes: readonly (readonly number[])[]): unknown => [...prefixes].sort((a, b) => a[0]! - b[0]!);
  for (const { start, end, prefixes } of cases) {
    const found = maskedPorts(start, end).map(({ port, prefix }) => [port, prefix]);
    assert.deepEqual(sorted(found), sorted(prefixes), `${start}-${end}`);
  }
});
