import { WeirError } from '../model/errors.ts';

/**
 * Numbers for keys, from 1 on. A number that was given back is given out again as late as possible: packets of its former
 * owner may still be under way.
 */
export class IdPool {
  readonly #name: string;
  readonly #last: number;
  readonly #byKey = new Map<string, number>();
  readonly #taken = new Set<number>();
  #newest = 0;

  /**
   * @param name what is numbered, for the error
   * @param last the highest number there may be
   * @param known numbers that are in use in the kernel already: their keys keep them
   * @param newest a number that was in use and is not to be given out again soon, nor are those below it
   */
  constructor(name: string, last: number, known: Iterable<readonly [key: string, id: number]> = [], newest = 0) {
    this.#name = name;
    this.#last = last;
    this.#newest = newest;
    for (const [key, id] of known) {
      if (id < 1 || id > last || this.#taken.has(id) || this.#byKey.has(key)) continue;
      this.#byKey.set(key, id);
      this.#taken.add(id);
      this.#newest = Math.max(this.#newest, id);
    }
  }

  /**
   * The number of `key`, a new one if it has none.
   *
   * @throws WeirError IDS_EXHAUSTED
   */
  take(key: string): number {
    const known = this.#byKey.get(key);
    if (known !== undefined) return known;
    if (this.#taken.size >= this.#last) {
      throw new WeirError('IDS_EXHAUSTED', `there are no more than ${this.#last} numbers for ${this.#name}`, {
        object: key,
      });
    }
    let id = this.#newest;
    do id = id >= this.#last ? 1 : id + 1;
    while (this.#taken.has(id));
    this.#newest = id;
    this.#byKey.set(key, id);
    this.#taken.add(id);
    return id;
  }

  /** Gives back the number of `key`; one that has none is fine. */
  release(key: string): void {
    const id = this.#byKey.get(key);
    if (id === undefined) return;
    this.#byKey.delete(key);
    this.#taken.delete(id);
  }

  /** Keys that have a number. */
  keys(): readonly string[] {
    return [...this.#byKey.keys()];
  }
}
