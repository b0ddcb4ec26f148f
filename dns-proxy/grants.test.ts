import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Grants } from './grants.ts';

test('an identity is granted for exactly the set of selectors that select the name', () => {
  const grants = new Grants();
  assert.equal(grants.identityOf('www.cilium.io.', 4), undefined);
  grants.replace({
    selectors: ['*.cilium.io', 'www.cilium.io', 'docs.cilium.io', '*.example.com'],
    identities: [
      { selectors: ['*.cilium.io'], family: 4, identity: 100 },
      { selectors: ['*.cilium.io'], family: 6, identity: 200 },
      { selectors: ['www.cilium.io', '*.cilium.io'], family: 4, identity: 101 },
    ],
  });
  assert.equal(grants.identityOf('api.cilium.io.', 4), 100);
  assert.equal(grants.identityOf('api.cilium.io.', 6), 200, 'each family has its own');
  assert.equal(grants.identityOf('www.cilium.io.', 6), undefined);
  assert.equal(grants.identityOf('www.cilium.io.', 4), 101, 'in whatever order the set was told');
  assert.equal(grants.identityOf('docs.cilium.io.', 4), undefined, 'a set that has no identity yet');
  assert.equal(grants.identityOf('www.example.com.', 4), undefined);
  assert.equal(grants.identityOf('www.other.com.', 4), undefined, 'no selector selects it');
  grants.replace({ selectors: [], identities: [] });
  assert.equal(grants.identityOf('api.cilium.io.', 4), undefined);
});
