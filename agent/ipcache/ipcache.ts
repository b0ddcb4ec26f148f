import { prefixKey, prefixOfKey, type Address, type Cidr } from '../model/address.ts';
import type { IpcacheEntry } from '../model/datapath.ts';
import { sourceOutranks, type IpcacheSource } from './source.ts';

/** What one owner of one source says about a prefix. */
export interface IpcacheRecord extends IpcacheEntry {
  readonly source: IpcacheSource;
  /**
   * Who said it, within the source: an endpoint, a policy, a node. Only that owner's removal takes it back, so that
   * the late removal of a pod does not take the address from the pod that got it next. Empty when a source has one owner.
   */
  readonly owner: string;
  /** Of the prefix, as {@link prefixKey} makes it, where it is at hand. */
  readonly key?: string;
  /** The workload at the address, for people. */
  readonly namespace?: string;
  readonly podName?: string;
}

/** The answer for one prefix changed. Never both absent, and never equal. */
export interface IpcacheChange {
  readonly prefix: Cidr;
  readonly before?: IpcacheRecord;
  readonly after?: IpcacheRecord;
}

export type IpcacheListener = (changes: readonly IpcacheChange[]) => void;

/** Takes back what `owner` of `source` said about `prefix`. */
export interface IpcacheRemoval {
  readonly prefix: Cidr;
  readonly source: IpcacheSource;
  readonly owner: string;
  readonly key?: string;
}

/** What is said about one prefix, the one believed first; nearly always it is one. */
type Slot = IpcacheRecord | readonly IpcacheRecord[];

/**
 * Prefix → identity, as the whole agent knows it. For each prefix the record of the best source wins, among equals the
 * latest. Listeners hear of changes of the winner only, in the order in which they happened.
 */
export class Ipcache {
  readonly #slots = new Map<string, Slot>();
  /** How many prefixes there are of each length, by family, so that a lookup tries only lengths that exist. */
  readonly #lengths: Record<4 | 6, Map<number, number>> = { 4: new Map(), 6: new Map() };
  readonly #sorted: Record<4 | 6, readonly number[] | undefined> = { 4: undefined, 6: undefined };
  readonly #listeners = new Set<IpcacheListener>();

  /** How many prefixes have an identity. */
  get size(): number {
    return this.#slots.size;
  }

  /** Adds or replaces what each record's owner says. */
  upsert(...records: readonly IpcacheRecord[]): void {
    this.apply(records, []);
  }

  /** Takes back what the owners said; what was never said is fine. */
  remove(...removals: readonly IpcacheRemoval[]): void {
    this.apply([], removals);
  }

  /** Takes back everything that `owner` of `source` said. Walks all prefixes: who knows its own uses `remove`. */
  removeOwner(source: IpcacheSource, owner: string): void {
    const removals: IpcacheRemoval[] = [];
    for (const slot of this.#slots.values()) {
      const said = recordsOf(slot).find((record) => isOf(record, { source, owner }));
      if (said !== undefined) removals.push({ prefix: said.prefix, source, owner });
    }
    this.apply([], removals);
  }

  /** Upserts and removals as one change: listeners see only its outcome. */
  apply(upserts: readonly IpcacheRecord[], removals: readonly IpcacheRemoval[]): void {
    const before = new Map<string, IpcacheRecord | undefined>();
    for (const record of upserts) this.#change(keyOf(record), before, (records) => withRecord(records, record));
    for (const removal of removals) {
      this.#change(keyOf(removal), before, (records) => records.filter((record) => !isOf(record, removal)));
    }
    const changes: IpcacheChange[] = [];
    for (const [key, old] of before) {
      const now = this.#winner(key);
      if (sameAnswer(old, now)) continue;
      const { prefix } = (now ?? old)!;
      changes.push({ prefix, ...(old && { before: old }), ...(now && { after: now }) });
    }
    if (changes.length > 0) for (const listener of [...this.#listeners]) listener(changes);
  }

  /** The winning record of exactly this prefix. */
  get(prefix: Cidr): IpcacheRecord | undefined {
    return this.#winner(keyOf({ prefix }));
  }

  /** All that is said about exactly this prefix, the one believed first. */
  records(prefix: Cidr): readonly IpcacheRecord[] {
    return recordsOf(this.#slots.get(keyOf({ prefix })));
  }

  /**
   * The winning record of the longest prefix that covers `address`, as the kernel's map answers.
   *
   * @param besides a source that is not asked: what the answer would be without it
   */
  lookup(address: Address, besides?: IpcacheSource): IpcacheRecord | undefined {
    for (const length of this.#descending(address.family)) {
      const records = recordsOf(this.#slots.get(prefixKey(address.bytes, length)));
      const record = besides === undefined ? records[0] : records.find(({ source }) => source !== besides);
      if (record !== undefined) return record;
    }
    return undefined;
  }

  /** The winning records of all prefixes. */
  *entries(): Generator<IpcacheRecord> {
    for (const slot of this.#slots.values()) yield recordsOf(slot)[0]!;
  }

  /**
   * Calls `listener` with all that stands, as one change, then with every change. What it throws reaches whoever
   * made the change.
   *
   * @returns ends the subscription
   */
  subscribe(listener: IpcacheListener): () => void {
    const standing = [...this.entries()].map((after) => ({ prefix: after.prefix, after }));
    this.#listeners.add(listener);
    if (standing.length > 0) listener(standing);
    return () => void this.#listeners.delete(listener);
  }

  #winner(key: string): IpcacheRecord | undefined {
    return recordsOf(this.#slots.get(key))[0];
  }

  #change(
    key: string,
    before: Map<string, IpcacheRecord | undefined>,
    edit: (records: readonly IpcacheRecord[]) => readonly IpcacheRecord[],
  ): void {
    const slot = this.#slots.get(key);
    if (!before.has(key)) before.set(key, recordsOf(slot)[0]);
    const records = edit(recordsOf(slot));
    if (records.length > 0) {
      this.#slots.set(key, records.length === 1 ? records[0]! : records);
      if (slot === undefined) this.#count(key, 1);
    } else if (this.#slots.delete(key)) this.#count(key, -1);
  }

  #count(key: string, by: number): void {
    const { address, length } = prefixOfKey(key);
    const lengths = this.#lengths[address.family];
    const before = lengths.get(length) ?? 0;
    if (before + by === 0) lengths.delete(length);
    else lengths.set(length, before + by);
    if (before === 0 || before + by === 0) this.#sorted[address.family] = undefined;
  }

  /** Lengths of the family's prefixes, the longest first. */
  #descending(family: 4 | 6): readonly number[] {
    return (this.#sorted[family] ??= [...this.#lengths[family].keys()].sort((a, b) => b - a));
  }
}

function keyOf(said: { readonly key?: string; readonly prefix: Cidr }): string {
  return said.key ?? prefixKey(said.prefix.address.bytes, said.prefix.length);
}

const NOTHING: readonly IpcacheRecord[] = [];

function recordsOf(slot: Slot | undefined): readonly IpcacheRecord[] {
  if (slot === undefined) return NOTHING;
  return isList(slot) ? slot : [slot];
}

function isList(slot: Slot): slot is readonly IpcacheRecord[] {
  return Array.isArray(slot);
}

function isOf(record: IpcacheRecord, of: Pick<IpcacheRecord, 'source' | 'owner'>): boolean {
  return record.source === of.source && record.owner === of.owner;
}

/** `records` with `added` in its place: before all of its own rank, after all of a better one. */
function withRecord(records: readonly IpcacheRecord[], added: IpcacheRecord): readonly IpcacheRecord[] {
  const same = records.find((record) => isOf(record, added));
  // Saying the same thing again is not news, and must not put an owner before another of its source.
  if (same !== undefined && sameAnswer(same, added)) return records;
  const others = records.filter((record) => !isOf(record, added));
  const better = others.filter((record) => sourceOutranks(record.source, added.source));
  return [...better, added, ...others.slice(better.length)];
}

function sameAnswer(a: IpcacheRecord | undefined, b: IpcacheRecord | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return (
    isOf(a, b) &&
    a.identity === b.identity &&
    a.namespace === b.namespace &&
    a.podName === b.podName &&
    sameAddress(a.tunnelEndpoint, b.tunnelEndpoint)
  );
}

function sameAddress(a: Address | undefined, b: Address | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a.family === b.family && a.bytes.every((byte, i) => byte === b.bytes[i]);
}
