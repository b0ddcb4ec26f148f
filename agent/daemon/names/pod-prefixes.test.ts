import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress, parseCidr } from '../../model/address.ts';
import { PodPrefixes } from './pod-prefixes.ts';

test('addresses in the prefixes of pods, of either family', () => {
  const prefixes = new PodPrefixes();
  const inside = (...texts: readonly string[]): readonly boolean[] =>
    texts.map((text) => prefixes.has(parseAddress(text)));
  assert.deepEqual(inside('10.244.0.1'), [false]);
  const all = ['10.244.0.0/24', '10.244.7.0/25', 'fd00:10:244::/64'].map((text) => parseCidr(text));
  assert.equal(prefixes.replace(all), true);
  assert.equal(prefixes.replace(all.toReversed()), false, 'no news');
  assert.deepEqual(
    inside('10.244.0.255', '10.244.1.0', '10.244.7.127', '10.244.7.128', 'fd00:10:244::9', 'fd00:10:245::9'),
    [true, false, true, false, true, false],
  );
  assert.equal(prefixes.replace(all.slice(1)), true);
  assert.deepEqual(inside('10.244.0.255', '10.244.7.1'), [false, true]);
});
