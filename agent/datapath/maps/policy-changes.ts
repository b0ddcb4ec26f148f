/**
 * Changes of a policy map as the kernel takes them in batches. What happens to many identities alike is encoded and planned
 * once; for each identity the bytes are then copied, and its number set in the keys.
 */
import { identityId, type IdentityId } from '../../model/identity.ts';
import type { MapStateChanges, PolicyKey } from '../../model/mapstate.ts';
import { policyEntry, policyKey, policyKeyOffset } from '../../../bpf/gen/structs.ts';
import { sortEdits, type PolicyCount, type PolicyStep, type SortedEdits } from './policy-plan.ts';
import { encodePolicyEntry, encodePolicyKey, policyValues } from './policymap.ts';

const ANY = identityId(0);

/** Edits that are made once, or for each of these identities in place of the one in their keys. */
export interface EditGroup {
  readonly edits: SortedEdits;
  readonly identities?: readonly IdentityId[];
}

export function encodeChanges({ groups }: MapStateChanges): readonly EditGroup[] {
  return groups.map(({ direction, identities, entries }) => {
    const edits = entries.map(({ protocol, port, portPrefix, before, after }) => {
      const key: PolicyKey = { direction, identity: ANY, protocol, port, portPrefix };
      return {
        key: encodePolicyKey(key),
        ...(before !== undefined && { before: encodePolicyEntry(key, before) }),
        ...(after !== undefined && { after: encodePolicyEntry(key, after) }),
      };
    });
    return { edits: sortEdits(edits, policyValues), identities };
  });
}

/** What groups of edits come to in all. */
export interface EditTotals {
  readonly before: PolicyCount;
  readonly after: PolicyCount;
  /** How many entries come where there was none. */
  readonly added: number;
}

export function totalsOf(groups: readonly EditGroup[]): EditTotals {
  const sum = (of: (edits: SortedEdits) => number): number =>
    groups.reduce((total, group) => total + of(group.edits) * timesOf(group), 0);
  return {
    before: { size: sum(({ before }) => before.size), special: sum(({ before }) => before.special) },
    after: { size: sum(({ after }) => after.size), special: sum(({ after }) => after.special) },
    added: sum(({ added }) => added),
  };
}

/** Keys, and what is written to them; no values where they are removed. */
export interface StepBytes {
  readonly keys: Uint8Array;
  readonly values: Uint8Array;
}

/** What a step does for all groups, end to end. */
export function stepBytes(groups: readonly EditGroup[], step: PolicyStep): StepBytes {
  const keysOf = ({ edits }: EditGroup): readonly Uint8Array[] =>
    step === 'remove' ? edits.removals : slotsOf(edits, step).map(({ key }) => key);
  const count = groups.reduce((sum, group) => sum + keysOf(group).length * timesOf(group), 0);
  const keys = new Uint8Array(count * policyKey.size);
  const values = new Uint8Array(step === 'remove' ? 0 : count * policyEntry.size);
  const view = new DataView(keys.buffer);
  let at = 0;
  for (const group of groups) {
    const groupKeys = Buffer.concat(keysOf(group));
    const groupValues =
      step === 'remove' ? undefined : Buffer.concat(slotsOf(group.edits, step).map(({ value }) => value));
    for (let time = 0; time < timesOf(group); time++) {
      const begin = at * policyKey.size;
      keys.set(groupKeys, begin);
      if (groupValues !== undefined) values.set(groupValues, at * policyEntry.size);
      at += groupKeys.length / policyKey.size;
      if (group.identities === undefined) continue;
      for (let key = begin; key < at * policyKey.size; key += policyKey.size) {
        view.setUint32(key + policyKeyOffset.identity, group.identities[time]!, true);
      }
    }
  }
  return { keys, values };
}

function slotsOf({ guards, writes }: SortedEdits, step: 'guard' | 'write'): SortedEdits['writes'] {
  return step === 'guard' ? guards : writes;
}

function timesOf({ identities }: EditGroup): number {
  return identities === undefined ? 1 : identities.length;
}
