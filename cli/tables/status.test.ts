import assert from 'node:assert/strict';
import { test } from 'node:test';
import { statusText } from './status.ts';

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
