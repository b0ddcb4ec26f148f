/**
 * In which order a policy map is changed while packets are judged by it.
 *
 * The kernel asks a policy map twice for each packet, for the longest prefix of the exact identity and of identity 0, and
 * lets precedence decide between the two (S7). So an entry that is written or removed can uncover or cover another, and
 * between two harmless states there may be a moment in which a packet passes that neither of them lets through. That must
 * not happen, whatever the changes are. Two ways lead there:
 *
 * 1. **Only plain allows**, before and after: more entries can only allow more. All writes go first, then all removals;
 *    the states in between allow what the old or the new one allows, and never drop what both allow.
 *
 * 2. **Otherwise: guards.** A guard is a deny of the highest precedence, which wins against everything.
 *    First a guard is put on every key that is to change. Each guard takes packets from the old verdict to denied,
 *    nothing else. Then each guard gives way to the key's new entry, then the guards of removed keys go. Every key of the
 *    new state is present, as itself or as a guard, from the end of the first step on; so a lookup during the second step
 *    finds the new state's longest prefix or a guard, on either side. Hence a packet sees its old verdict, then
 *    perhaps denied, then its new verdict. Only first packets and stale connections notice, for the microseconds of a batch:
 *    an established connection keeps its verdict until the revision is raised, after all of this.
 *
 * An entry of which only the cookie changes is written in place.
 */

/** One entry as the kernel holds it. Keys are compared by their text, which is equal for equal bytes and only for them. */
export interface PolicySlot {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** Done in this order, each for all edits before the next begins. */
export type PolicyStep = 'guard' | 'write' | 'remove';

/** What the planner must know of values; the codec does. */
export interface PolicyValues {
  /** The deny that wins against everything, fit for `key`. */
  guard(key: Uint8Array): Uint8Array;
  /** Allows without a proxy, authentication or other condition. */
  isPlainAllow(value: Uint8Array): boolean;
  /** Whether the two decide alike. */
  decidesAlike(a: Uint8Array, b: Uint8Array): boolean;
}

/** A change of one key: what the map holds now and what it shall hold. Absent is no entry. */
export interface PolicyEdit {
  readonly key: Uint8Array;
  readonly before?: Uint8Array;
  readonly after?: Uint8Array;
}

/** Edits by what each step has to do for them. Sorted once, they may be done for many identities. */
export interface SortedEdits {
  readonly guards: readonly PolicySlot[];
  /** Those of which only the cookie changes come first. */
  readonly writes: readonly PolicySlot[];
  readonly removals: readonly Uint8Array[];
  readonly before: PolicyCount;
  readonly after: PolicyCount;
  /** How many entries come where there was none. */
  readonly added: number;
}

export interface PolicyCount {
  size: number;
  /** How many entries are not plain allows. */
  special: number;
}

/** @param edits the keys that change, each once */
export function sortEdits(edits: Iterable<PolicyEdit>, values: PolicyValues): SortedEdits {
  const [inPlace, guards, writes, removals]: [PolicySlot[], PolicySlot[], PolicySlot[], Uint8Array[]] = [
    [],
    [],
    [],
    [],
  ];
  const [before, after] = [emptyCount(), emptyCount()];
  let added = 0;
  for (const { key, before: old, after: value } of edits) {
    if (old !== undefined) countEntry(before, old, values);
    if (value !== undefined) countEntry(after, value, values);
    if (old === undefined && value === undefined) continue;
    if (old !== undefined && value !== undefined && values.decidesAlike(old, value)) {
      if (!bytesEqual(old, value)) inPlace.push({ key, value });
      continue;
    }
    if (old === undefined) added++;
    guards.push({ key, value: values.guard(key) });
    if (value === undefined) removals.push(key);
    else writes.push({ key, value });
  }
  return { guards, writes: [...inPlace, ...writes], removals, before, after, added };
}

/**
 * Steps from the present content to the new one.
 *
 * @param plain whether all entries are plain allows, before and after, also those that do not change
 */
export function stepsOf(plain: boolean): readonly PolicyStep[] {
  return plain ? ['write', 'remove'] : ['guard', 'write', 'remove'];
}

export function emptyCount(): PolicyCount {
  return { size: 0, special: 0 };
}

export function countEntry(count: PolicyCount, value: Uint8Array, values: PolicyValues): void {
  count.size++;
  if (!values.isPlainAllow(value)) count.special++;
}

export function bytesEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
