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

/** Applied in order; within a step writes go before removals. */
export interface PolicyStep {
  readonly write: readonly PolicySlot[];
  readonly remove: readonly Uint8Array[];
}

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

/**
 * Steps from the present content to the new one.
 *
 * @param edits the keys that change, each once
 * @param restPlain whether all entries that do not change are plain allows
 */
export function planPolicyUpdate(
  edits: readonly PolicyEdit[],
  restPlain: boolean,
  values: PolicyValues,
): readonly PolicyStep[] {
  const inPlace: PolicySlot[] = [];
  const guarded: PolicyEdit[] = [];
  for (const edit of edits) {
    const { key, before, after } = edit;
    if (before === undefined && after === undefined) continue;
    if (before !== undefined && after !== undefined && values.decidesAlike(before, after)) {
      if (!bytesEqual(before, after)) inPlace.push({ key, value: after });
    } else guarded.push(edit);
  }
  const plain = (value: Uint8Array | undefined) => value === undefined || values.isPlainAllow(value);
  const allPlain = restPlain && edits.every(({ before, after }) => plain(before) && plain(after));
  const write = guarded.flatMap(({ key, after }) => (after === undefined ? [] : [{ key, value: after }]));
  const remove = guarded.filter(({ after }) => after === undefined).map(({ key }) => key);
  const steps: PolicyStep[] = [];
  if (!allPlain) steps.push({ write: guarded.map(({ key }) => ({ key, value: values.guard(key) })), remove: [] });
  steps.push({ write: [...inPlace, ...write], remove });
  return steps.filter((step) => step.write.length + step.remove.length > 0);
}

export function bytesEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
