/** A set of small integers as one sorted array: compact, cheap to walk, appending in order is constant time. */
export class SlotSet {
  #slots: Int32Array;
  #size = 0;

  constructor(capacity = 4) {
    this.#slots = new Int32Array(capacity);
  }

  get size(): number {
    return this.#size;
  }

  /** The members in ascending order: a view that the next change makes stale. */
  get members(): Int32Array {
    return this.#slots.subarray(0, this.#size);
  }

  has(slot: number): boolean {
    const at = this.#lowerBound(slot);
    return at < this.#size && this.#slots[at] === slot;
  }

  /** False when it was there already. */
  add(slot: number): boolean {
    const at = this.#lowerBound(slot);
    if (at < this.#size && this.#slots[at] === slot) return false;
    if (this.#size === this.#slots.length) {
      const grown = new Int32Array(Math.max(4, this.#size * 2));
      grown.set(this.#slots);
      this.#slots = grown;
    }
    if (at < this.#size) this.#slots.copyWithin(at + 1, at, this.#size);
    this.#slots[at] = slot;
    this.#size++;
    return true;
  }

  /** False when it was not there. */
  delete(slot: number): boolean {
    const at = this.#lowerBound(slot);
    if (at >= this.#size || this.#slots[at] !== slot) return false;
    this.#slots.copyWithin(at, at + 1, this.#size);
    this.#size--;
    return true;
  }

  /** First position whose member is not below `slot`. */
  #lowerBound(slot: number): number {
    // Slots are handed out in ascending order, so that most additions go to the end.
    if (this.#size === 0 || this.#slots[this.#size - 1]! < slot) return this.#size;
    let low = 0;
    let high = this.#size;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#slots[middle]! < slot) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
