import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { RESOURCE_KINDS, type Resource, type ResourceEvent } from '../model/resource.ts';
import { diffResources, resourceKey, type ResourceSet } from './diff-resources.ts';

const resource = fc.record({
  apiVersion: fc.constant('v1'),
  kind: fc.constantFrom(...RESOURCE_KINDS),
  namespace: fc.constantFrom('', 'a', 'b'),
  name: fc.constantFrom('x', 'y', 'z'),
  uid: fc.constantFrom('', '1'),
  object: fc.record({ spec: fc.constantFrom(1, 2, 3) }, { noNullPrototype: true }),
});
const set = fc
  .array(resource, { maxLength: 40 })
  .map((list): ResourceSet => new Map(list.map((r) => [resourceKey(r), r])));

const contents = (s: ResourceSet): unknown =>
  new Map([...s].map(([key, r]) => [key, { uid: r.uid, object: r.object }]));

function apply(before: ResourceSet, events: readonly ResourceEvent[]): ResourceSet {
  const now = new Map(before);
  for (const event of events) {
    if (event.type === 'upsert') now.set(resourceKey(event.resource), event.resource);
    else if (event.type === 'delete') assert.ok(now.delete(resourceKey(event.resource)), 'deletes what is there');
  }
  return now;
}

test('the events lead from one set to the other, and none is idle', () => {
  fc.assert(
    fc.property(set, set, (before, after) => {
      const events = diffResources(before, after);
      assert.deepEqual(contents(apply(before, events)), contents(after));
      assert.deepEqual(diffResources(after, apply(before, events)), []);
      for (const event of events) {
        if (event.type !== 'upsert') continue;
        const old = before.get(resourceKey(event.resource));
        assert.ok(
          old === undefined || old.object['spec'] !== event.resource.object['spec'] || old.uid !== event.resource.uid,
        );
      }
    }),
  );
});

test('upserts come before deletes, namespaces before policies', () => {
  const make = (kind: Resource['kind'], name: string): Resource => ({
    apiVersion: 'v1',
    kind,
    namespace: '',
    name,
    uid: '',
    object: {},
  });
  const asSet = (...list: Resource[]): ResourceSet => new Map(list.map((r) => [resourceKey(r), r]));
  const events = diffResources(
    asSet(make('Namespace', 'old'), make('CiliumNetworkPolicy', 'old')),
    asSet(make('CiliumNetworkPolicy', 'new'), make('Pod', 'p'), make('Namespace', 'new')),
  );
  assert.deepEqual(
    events.map((e) => (e.type === 'synced' ? e.type : `${e.type} ${e.resource.kind} ${e.resource.name}`)),
    [
      'upsert Namespace new',
      'upsert Pod p',
      'upsert CiliumNetworkPolicy new',
      'delete CiliumNetworkPolicy old',
      'delete Namespace old',
    ],
  );
});
