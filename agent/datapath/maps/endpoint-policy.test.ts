import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { endpointId } from '../../model/endpoint.ts';
import { WeirError } from '../../model/errors.ts';
import { identityId } from '../../model/identity.ts';
import {
  changesOf,
  mergeChanges,
  policyKeyText,
  type MapStateChanges,
  type MapStateView,
  type PolicyEntry,
  type PolicyKey,
} from '../../model/mapstate.ts';
import { MAPS } from '../../../bpf/gen/maps.ts';
import { EndpointPolicy } from './endpoint-policy.ts';
import { MemoryMap } from './memory-map.ts';
import { decodePolicyEntry, decodePolicyKey } from './policymap.ts';
import { RevisionMap } from './revision.ts';

const ID = endpointId(42);

type Rule = readonly [PolicyKey, PolicyEntry];

function rule(identity: number, port: number, deny = false, cookie = 0): Rule {
  return [
    { direction: 'ingress', identity: identityId(identity), protocol: 6, port, portPrefix: 16 },
    { deny, proxyPort: 0, authType: 0, authExplicit: false, precedence: deny ? 200 : 100, cookie },
  ];
}

function view(...rules: readonly Rule[]): MapStateView {
  return { size: rules.length, entries: () => rules };
}

/** What leads from some rules to others. */
function changes(before: readonly Rule[], after: readonly Rule[]): MapStateChanges {
  return mergeChanges([
    changesOf(before.map(([key, entry]) => [key, { before: entry, after: undefined }])),
    changesOf(after.map(([key, entry]) => [key, { before: undefined, after: entry }])),
  ]);
}

function setUp(maxEntries = 100) {
  const map = new MemoryMap({ ...MAPS.weir_policy, maxEntries });
  const revisions = new RevisionMap(new MemoryMap(MAPS.weir_revision));
  const policy = new EndpointPolicy(ID, map, revisions);
  return { map, revisions, policy };
}

/** What the map holds, as sorted `key=allow|deny` texts. */
function content(map: MemoryMap): string[] {
  const text = ([key, value]: [string, Buffer]) =>
    `${policyKeyText(decodePolicyKey(Buffer.from(key, 'hex')))}=${decodePolicyEntry(value).deny ? 'deny' : 'allow'}`;
  return [...map.held].map(text).sort();
}

const isFull = (error: unknown) =>
  error instanceof WeirError && error.code === 'BPF_MAP_FULL' && error.object === 'endpoint 42';

describe('EndpointPolicy', () => {
  test('raises the revision after the map holds the change, and only when there is one', async () => {
    const { map, revisions, policy } = setUp();
    map.afterChange = () => assert.equal(revisions.revision(ID), 0n);
    await policy.replace(view(rule(7, 80)));
    assert.equal(revisions.revision(ID), 1n);
    map.afterChange = () => undefined;
    await policy.replace(view(rule(7, 80)));
    assert.equal(revisions.revision(ID), 1n);
    await policy.update(changes([rule(7, 80)], [rule(8, 80)]));
    assert.equal(revisions.revision(ID), 2n);
    assert.deepEqual(content(map), ['ingress/8/6/80/16=allow']);
  });

  test('a policy that does not fit locks the endpoint down until one fits', async () => {
    const { map, policy } = setUp(2);
    await policy.replace(view(rule(7, 80)));
    await assert.rejects(policy.update(changes([], [rule(7, 81), rule(7, 82)])), isFull);
    assert.equal(policy.lockedDown, true);
    // Nothing was half applied, and an increment on top of what is not there is refused.
    assert.deepEqual(content(map), ['ingress/7/6/80/16=allow']);
    await assert.rejects(policy.update(changes([rule(7, 82)], [])), isFull);
    await policy.replace(view(rule(7, 81), rule(7, 82)));
    assert.equal(policy.lockedDown, false);
    assert.deepEqual(content(map), ['ingress/7/6/81/16=allow', 'ingress/7/6/82/16=allow']);
  });

  test('a policy that fits, but not beside the old one, is changed behind lockdown', async () => {
    const { map, policy } = setUp(2);
    await policy.replace(view(rule(7, 80), rule(7, 81)));
    const lockedDown: boolean[] = [];
    map.afterChange = () => lockedDown.push(policy.lockedDown);
    await policy.update(changes([rule(7, 80), rule(7, 81)], [rule(7, 90), rule(7, 91)]));
    assert.deepEqual(lockedDown, [true, true, true, true]);
    assert.equal(policy.lockedDown, false);
    assert.deepEqual(content(map), ['ingress/7/6/90/16=allow', 'ingress/7/6/91/16=allow']);
  });

  test('a kernel that says full although the count fits: lockdown too', async () => {
    const { map, policy } = setUp(10);
    map.beforeChange = () => {
      throw new WeirError('BPF_MAP_FULL', 'no memory');
    };
    await assert.rejects(policy.replace(view(rule(7, 80))), isFull);
    assert.equal(policy.lockedDown, true);
  });

  test('after any other fault increments are refused, and a whole policy repairs', async () => {
    const { map, policy } = setUp();
    await policy.replace(view(rule(7, 80)));
    map.beforeChange = () => {
      throw new WeirError('BPF_MAP_FAILED', 'broken');
    };
    await assert.rejects(policy.update(changes([], [rule(7, 81)])), /broken/);
    map.beforeChange = () => undefined;
    await assert.rejects(policy.update(changes([], [rule(7, 82)])), /earlier update failed/);
    await policy.replace(view(rule(7, 82)));
    assert.deepEqual(content(map), ['ingress/7/6/82/16=allow']);
    await policy.update(changes([], [rule(7, 83)]));
    assert.equal(map.held.size, 2);
  });

  test('increments and whole policies lead to the same content, also for a successor that knows nothing', async () => {
    const some = fc
      .array(fc.tuple(fc.nat(3), fc.nat(3), fc.boolean(), fc.nat(2)), { maxLength: 8 })
      .map((list) => new Map(list.map(([id, port, deny, cookie]) => [`${id}/${port}`, rule(id, port, deny, cookie)])));
    await fc.assert(
      fc.asyncProperty(fc.array(some, { maxLength: 5 }), fc.boolean(), async (states, restart) => {
        const { map, revisions, policy } = setUp();
        let [now, editor] = [new Map<string, Rule>(), policy];
        for (const [i, next] of states.entries()) {
          if (restart) editor = new EndpointPolicy(ID, map, revisions);
          if (i % 2 === 0) await editor.update(changes([...now.values()], [...next.values()]));
          else await editor.replace(view(...next.values()));
          now = next;
          const held = [...map.held].map(([key, value]) => [key, decodePolicyEntry(value)] as const);
          const wanted = new MemoryMap(MAPS.weir_policy);
          await new EndpointPolicy(ID, wanted, revisions).replace(view(...next.values()));
          const expected = [...wanted.held].map(([key, value]) => [key, decodePolicyEntry(value)] as const);
          assert.deepEqual(new Map([...held].sort()), new Map([...expected].sort()));
        }
      }),
    );
  });
});
