/** Records of queries for whoever watches, a bundle at a time. */
import type { QueryRecord } from './contract.ts';

const CAPACITY = 4096;

export class Records {
  #watched = false;
  #kept: QueryRecord[] = [];
  #lost = 0;

  /** Whether anybody wants records: else they need not be made. */
  get watched(): boolean {
    return this.#watched;
  }

  watch(on: boolean): void {
    this.#watched = on;
    if (!on) this.take();
  }

  add(record: QueryRecord): void {
    if (this.#kept.length < CAPACITY) this.#kept.push(record);
    else this.#lost++;
  }

  take(): { readonly queries: readonly QueryRecord[]; readonly lost: number } {
    const taken = { queries: this.#kept, lost: this.#lost };
    this.#kept = [];
    this.#lost = 0;
    return taken;
  }
}
