/** Identities by the prefixes that they carry, so that a CIDR selector looks only at its own corner of the world. */
import { prefixKey, type Cidr } from '../model/address.ts';
import { SlotSet } from './slotset.ts';

/** Lengths at which prefixes are filed, by bytes of an address; a selector uses the longest that is not beyond its own. */
const LEVELS: ReadonlyMap<number, readonly number[]> = new Map([
  [4, [8, 16, 24]],
  [16, [16, 32, 48, 64]],
]);

export class PrefixIndex {
  readonly #all = new SlotSet();
  readonly #filed = new Map<string, SlotSet>();

  add(slot: number, prefixes: readonly Cidr[]): void {
    if (prefixes.length > 0) this.#all.add(slot);
    for (const key of prefixes.flatMap(keysOf)) {
      let set = this.#filed.get(key);
      if (set === undefined) this.#filed.set(key, (set = new SlotSet()));
      set.add(slot);
    }
  }

  delete(slot: number, prefixes: readonly Cidr[]): void {
    this.#all.delete(slot);
    for (const key of prefixes.flatMap(keysOf)) {
      const set = this.#filed.get(key);
      set?.delete(slot);
      if (set?.size === 0) this.#filed.delete(key);
    }
  }

  /** A set that holds all slots with a prefix inside `outer`, and others. */
  candidates(outer: Cidr): SlotSet {
    const key = keysOf(outer).at(-1);
    return key === undefined ? this.#all : (this.#filed.get(key) ?? NOBODY);
  }
}

const NOBODY = new SlotSet(0);

function keysOf({ address: { bytes }, length }: Cidr): readonly string[] {
  return LEVELS.get(bytes.length)!
    .filter((level) => level <= length)
    .map((level) => prefixKey(bytes, level));
}
