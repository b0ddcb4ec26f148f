import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nearestName } from './nearest.ts';

test('nearestName finds what was meant, and nothing when nothing is near', () => {
  const known = ['fromEndpoints', 'fromEntities', 'fromCIDR', 'fromCIDRSet', 'toPorts', 'icmps'];
  assert.equal(nearestName('fromEndpoint', known), 'fromEndpoints');
  assert.equal(nearestName('fromCidr', known), 'fromCIDR');
  assert.equal(nearestName('toProts', known), 'toPorts');
  assert.equal(nearestName('icmp', known), 'icmps');
  assert.equal(nearestName('bogus', known), undefined);
  assert.equal(nearestName('x'.repeat(10_000), known), undefined);
});
