/**
 * The identities that the engine knows, indexed by label and by prefix. Each has a slot, a small number that stands for
 * it in sets and arrays; slots of removed identities are used again.
 */
import type { Cidr } from '../model/address.ts';
import type { IdentityId } from '../model/identity.ts';
import { LABEL, type Label } from '../model/labels.ts';
import type { PolicyConfig } from './config.ts';
import type { NamedPort } from './contract.ts';
import { prefixOfLabel } from './prefix.ts';
import { PrefixIndex } from './prefixindex.ts';
import { SlotSet } from './slotset.ts';
import { inPrefixes, isPositive, meets, type Labelled, type Term, type Test } from './term.ts';

/** An identity as selectors see it. */
export interface IdentityRecord extends Labelled {
  readonly id: IdentityId;
  /** Prefixes of its `cidr:` labels by which CIDR selectors may match it: none unless it is of the world (S21). */
  readonly cidrs: readonly Cidr[];
}

/** Identities that carry a key from one source. */
interface Posting {
  readonly source: string;
  readonly all: SlotSet;
  readonly values: Map<string, SlotSet>;
}

const NO_PREFIXES: readonly Cidr[] = [];

export class IdentityTable {
  readonly #cidrMatchMode: PolicyConfig['cidrMatchMode'];
  readonly #slots = new Map<number, number>();
  readonly #records: (IdentityRecord | undefined)[] = [];
  /** Kept until the slot is released, so that what was removed can still be named. */
  readonly #ids: IdentityId[] = [];
  readonly #ports: (readonly NamedPort[] | undefined)[] = [];
  readonly #free: number[] = [];
  /** By key, whatever the source: a key rarely has more than one. */
  readonly #postings = new Map<string, Posting[]>();
  readonly #prefixIndex = new PrefixIndex();
  #tested = 0;

  constructor(cidrMatchMode: PolicyConfig['cidrMatchMode']) {
    this.#cidrMatchMode = cidrMatchMode;
  }

  /** How many identities were tested so far, for all terms together. */
  get tested(): number {
    return this.#tested;
  }

  get count(): number {
    return this.#slots.size;
  }

  /** One past the highest slot ever used. */
  get slotLimit(): number {
    return this.#records.length;
  }

  slotOf(id: IdentityId): number | undefined {
    return this.#slots.get(id);
  }

  record(slot: number): IdentityRecord | undefined {
    return this.#records[slot];
  }

  idOf(slot: number): IdentityId {
    return this.#ids[slot]!;
  }

  ids(): IterableIterator<number> {
    return this.#slots.keys();
  }

  namedPorts(slot: number): readonly NamedPort[] {
    return this.#ports[slot] ?? [];
  }

  setNamedPorts(slot: number, ports: readonly NamedPort[]): void {
    this.#ports[slot] = ports.length === 0 ? undefined : ports;
  }

  /** Adds an identity, or gives a known one other labels; its slot stays. */
  put(id: IdentityId, labels: readonly Label[]): number {
    let slot = this.#slots.get(id);
    if (slot === undefined) {
      slot = this.#free.pop() ?? this.#records.length;
      this.#slots.set(id, slot);
      this.#ids[slot] = id;
    } else this.#unindex(slot);
    this.#records[slot] = { id, labels, cidrs: this.#prefixes(labels) };
    this.#index(slot);
    return slot;
  }

  /** Takes an identity out of every index. Its slot is not given to another until {@link release}. */
  remove(slot: number): void {
    const record = this.#records[slot]!;
    this.#unindex(slot);
    this.#slots.delete(record.id);
    this.#records[slot] = undefined;
    this.#ports[slot] = undefined;
  }

  release(slot: number): void {
    this.#free.push(slot);
  }

  /** Slots that the term selects, ascending. */
  select(term: Term): readonly number[] {
    const { sets, rest } = this.#candidates(term);
    const prefixed = term.cidrs.length > 0 || term.except.length > 0;
    const out: number[] = [];
    for (const set of sets) {
      this.#tested += set.size;
      for (const slot of set.members) {
        const record = this.#records[slot]!;
        if (meetsAll(record, rest) && (!prefixed || inPrefixes(record, term))) out.push(slot);
      }
    }
    return sets.length < 2 ? out : [...new Set(out)].sort((a, b) => a - b);
  }

  /** The smallest sets that together hold all that the term may select, and the tests that are left. */
  #candidates(term: Term): { readonly sets: readonly SlotSet[]; readonly rest: readonly Test[] } {
    let best: { sets: SlotSet[]; size: number; test: Test | undefined } | undefined;
    for (const cidr of term.cidrs) {
      const set = this.#prefixIndex.candidates(cidr);
      if (best === undefined || set.size < best.size) best = { sets: [set], size: set.size, test: undefined };
    }
    for (const test of term.tests) {
      if (!isPositive(test)) continue;
      const sets = this.#setsOf(test);
      const size = sets.reduce((sum, set) => sum + set.size, 0);
      if (best === undefined || size < best.size) best = { sets, size, test };
    }
    if (best === undefined) return { sets: [this.#everything()], rest: term.tests };
    const chosen = best.test;
    return { sets: best.sets, rest: term.tests.filter((test) => test !== chosen) };
  }

  #everything(): SlotSet {
    const all = new SlotSet(this.#slots.size + 1);
    for (const [slot, record] of this.#records.entries()) if (record !== undefined) all.add(slot);
    return all;
  }

  /** Sets whose union is what a positive test selects. */
  #setsOf({ source, key, operator, values }: Test): SlotSet[] {
    const sets: SlotSet[] = [];
    for (const posting of this.#postings.get(key) ?? []) {
      if (source !== '' && posting.source !== source) continue;
      if (operator === 'Exists') sets.push(posting.all);
      else {
        for (const value of values) {
          const set = posting.values.get(value);
          if (set !== undefined) sets.push(set);
        }
      }
    }
    return sets;
  }

  #prefixes(labels: readonly Label[]): readonly Cidr[] {
    const cidrs = labels.map(prefixOfLabel).filter((prefix) => prefix !== undefined);
    if (cidrs.length === 0) return NO_PREFIXES;
    const kinds = new Set(labels.map(peerKind));
    const matches = kinds.has('world') || this.#cidrMatchMode.some((mode) => kinds.has(mode));
    return matches ? cidrs : NO_PREFIXES;
  }

  #index(slot: number): void {
    const record = this.#records[slot]!;
    for (const label of record.labels) {
      const posting = this.#posting(label);
      posting.all.add(slot);
      let set = posting.values.get(label.value);
      if (set === undefined) posting.values.set(label.value, (set = new SlotSet()));
      set.add(slot);
    }
    this.#prefixIndex.add(slot, record.cidrs);
  }

  #unindex(slot: number): void {
    const record = this.#records[slot]!;
    for (const label of record.labels) {
      const posting = this.#posting(label);
      posting.all.delete(slot);
      const set = posting.values.get(label.value);
      set?.delete(slot);
      if (set?.size === 0) posting.values.delete(label.value);
      if (posting.all.size === 0) this.#dropPosting(label);
    }
    this.#prefixIndex.delete(slot, record.cidrs);
  }

  #posting({ key, source }: Label): Posting {
    let postings = this.#postings.get(key);
    if (postings === undefined) this.#postings.set(key, (postings = []));
    let posting = postings.find((candidate) => candidate.source === source);
    if (posting === undefined) postings.push((posting = { source, all: new SlotSet(), values: new Map() }));
    return posting;
  }

  #dropPosting({ key, source }: Label): void {
    const rest = this.#postings.get(key)!.filter((posting) => posting.source !== source);
    if (rest.length === 0) this.#postings.delete(key);
    else this.#postings.set(key, rest);
  }
}

/** What kind of peer has this label. */
function peerKind({ source, key }: Label): 'world' | 'nodes' | 'pods' | undefined {
  if (source === 'k8s' && key === LABEL.podNamespace) return 'pods';
  if (source !== 'reserved') return undefined;
  if (key === 'remote-node' || key === 'host') return 'nodes';
  return key.startsWith('world') ? 'world' : undefined;
}

function meetsAll({ labels }: IdentityRecord, tests: readonly Test[]): boolean {
  for (const test of tests) if (!meets(labels, test)) return false;
  return true;
}
