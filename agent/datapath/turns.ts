/** Lets work on one key run one at a time, in the order in which it was asked for; keys do not wait for each other. */
export class Turns<K> {
  readonly #last = new Map<K, Promise<unknown>>();

  async run<T>(key: K, work: () => Promise<T>): Promise<T> {
    const before = this.#last.get(key);
    const run = before === undefined ? work() : before.then(work, work);
    // Whoever comes next waits for this one, whatever becomes of it; its caller hears of a failure.
    const settled = run.then(
      () => undefined,
      () => undefined,
    );
    this.#last.set(key, settled);
    try {
      return await run;
    } finally {
      if (this.#last.get(key) === settled) this.#last.delete(key);
    }
  }
}
