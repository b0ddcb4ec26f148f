import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseCidr } from '../model/address.ts';
import { identityId } from '../model/identity.ts';
import { canonicalLabels } from '../model/labels.ts';
import { DEFAULT_POLICY_CONFIG } from './config.ts';
import type { PeerSelector, Requirement, RuleStanza } from './rule.ts';
import { StanzaSelectors } from './selector.ts';
import { SelectorCache, type Selector } from './selectorcache.ts';
import { SlotSet } from './slotset.ts';
import { selects } from './term.ts';

const requirement: fc.Arbitrary<Requirement> = fc.record({
  key: fc.constantFrom('any:a', 'k8s:a', 'any:b', 'k8s:b'),
  operator: fc.constantFrom('In', 'NotIn', 'Exists', 'DoesNotExist'),
  values: fc.uniqueArray(fc.constantFrom('x', 'y', 'z'), { minLength: 1, maxLength: 2 }),
});
const cidr = fc.constantFrom('10.0.0.0/8', '10.1.0.0/16', '10.1.2.3/32', 'fd00::/8').map(parseCidr);
const peer: fc.Arbitrary<PeerSelector> = fc.oneof(
  fc
    .array(requirement, { maxLength: 3 })
    .map((requirements) => ({ kind: 'labels' as const, selector: { requirements } })),
  fc.record({ kind: fc.constant('cidr' as const), cidr, except: fc.array(cidr, { maxLength: 1 }) }),
);
const labels = fc.oneof(
  fc
    .record({ a: fc.option(fc.constantFrom('x', 'y', 'z')), b: fc.option(fc.constantFrom('x', 'y')) })
    .map(({ a, b }) =>
      canonicalLabels(
        Object.entries({ a, b }).flatMap(([key, value]) => (value === null ? [] : [{ source: 'k8s', key, value }])),
      ),
    ),
  fc.constantFrom('10.1.0.0/16', '10.1.2.3/32', '10.0.0.0/8').map((key) =>
    canonicalLabels([
      { source: 'cidr', key, value: '' },
      { source: 'reserved', key: 'world-ipv4', value: '' },
    ]),
  ),
);
const event = fc.record({ id: fc.integer({ min: 1, max: 6 }).map(identityId), labels: fc.option(labels) });

test('however identities come and go, each selector selects just those that its terms match', () => {
  fc.assert(
    fc.property(
      fc.array(peer, { maxLength: 4 }),
      fc.array(event, { maxLength: 12 }),
      fc.nat(12),
      (peers, events, late) => {
        const cache = new SelectorCache(() => [], []);
        const selectors = new StanzaSelectors(DEFAULT_POLICY_CONFIG);
        const told: SlotSet[] = [];
        const user = {
          selectionChanged: (tag: number, slot: number, added: boolean) => {
            const slots = told[tag]!;
            assert.ok(added ? slots.add(slot) : slots.delete(slot), 'told twice');
          },
        };
        const specs = peers.flatMap((item) => selectors.of({ peers: [item] } as unknown as RuleStanza));
        const acquire = (): Selector[] => {
          const acquired = specs.map((spec, i) =>
            cache.acquire(
              spec,
              user,
              specs.findIndex(({ text }) => text === specs[i]!.text),
            ),
          );
          for (const [i, selector] of acquired.entries()) {
            const slots = new SlotSet();
            selector.selection.members.forEach((slot) => slots.add(slot));
            told[i] = slots;
          }
          return acquired;
        };
        let acquired: Selector[] = [];
        for (const [i, { id, labels: given }] of events.entries()) {
          if (i === late) acquired = acquire();
          if (given !== null) cache.put(id, given);
          else {
            const slot = cache.remove(id);
            if (slot !== undefined) cache.identities.release(slot);
          }
        }
        for (const [i, selector] of acquired.entries()) {
          const wanted = new Set<number>();
          for (let slot = 0; slot < cache.identities.slotLimit; slot++) {
            const record = cache.identities.record(slot);
            if (record !== undefined && specs[i]!.terms.some((term) => selects(term, record))) wanted.add(slot);
          }
          assert.deepEqual([...selector.selection.members], [...wanted]);
          assert.deepEqual([...told[specs.findIndex(({ text }) => text === specs[i]!.text)]!.members], [...wanted]);
        }
      },
    ),
  );
});

test('a slot set is a sorted set', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), fc.nat(20))), (operations) => {
      const [slots, model] = [new SlotSet(1), new Set<number>()];
      for (const [add, slot] of operations) {
        assert.equal(add ? slots.add(slot) : slots.delete(slot), add ? !model.has(slot) : model.has(slot));
        if (add) model.add(slot);
        else model.delete(slot);
        assert.equal(slots.has(slot), add);
      }
      assert.deepEqual(
        [...slots.members],
        [...model].sort((a, b) => a - b),
      );
    }),
  );
});
