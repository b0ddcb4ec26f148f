import assert from 'node:assert/strict';
import { test } from 'node:test';
import { statusText } from './status.ts';

test('names policy maps that are full, or nearly', () => {
  const maps = {
    7: { entries: 950, 'max-entries': 1000, lockdown: false },
    12: { entries: 1200, 'max-entries': 1000, lockdown: true },
  };
  const text = statusText({ 'policy-maps': maps }, { verbose: false, now: 0 }, (_style, words) => words);
  assert.deepEqual(
    text.split('\n').map((line) => line.trim()),
    [
      'Policy maps:   endpoint 7: 950 of 1000 entries',
      'endpoint 12: 1200 of 1000 entries, all its traffic is dropped',
      '',
    ],
  );
});

test('says what a rate limit left out', () => {
  const nodeMonitor = { cpus: 2, lost: 0, unknown: 0, limited: { drop: 4, trace: 12 } };
  const text = statusText({ nodeMonitor }, { verbose: true, now: 0 }, (_style, words) => words);
  assert.match(text, /Listening for events on 2 CPUs\n +left out by the rate limit: 4 drop, 12 trace\n/);
});

test('lists what of policies is not enforced, one line each', () => {
  const gaps = {
    'CiliumNetworkPolicy shop/web': ['toFQDNs: …', 'authentication: …'],
    'CiliumNetworkPolicy a/b': ['x'],
  };
  const text = statusText({ 'policy-gaps': gaps }, { verbose: false, now: 0 }, (_style, words) => words);
  assert.deepEqual(
    text.split('\n').map((line) => line.trim()),
    [
      'Not enforced:   CiliumNetworkPolicy a/b: x',
      'CiliumNetworkPolicy shop/web: toFQDNs: …',
      'CiliumNetworkPolicy shop/web: authentication: …',
      '',
    ],
  );
});
