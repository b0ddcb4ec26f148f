/**
 * Which names have which addresses on this node, held by one endpoint or more, and the selectors that each address has
 * by them. Every change is noted; {@link Links.changes} says what it came to.
 */
import type { Address } from '../model/address.ts';
import { NameSelectors, type NameSelector } from './nameselectors.ts';
import { NO_SELECTORS, SelectorSets, type SelectorSet } from './selectorset.ts';

export interface NameRecord {
  readonly name: string;
  selectors: SelectorSet;
  /** How many endpoints hold the name's link to each address. */
  readonly holders: Map<AddressRecord, number>;
}

export interface AddressRecord {
  readonly key: AddressKey;
  readonly address: Address;
  /** Names that are linked to it, in no order. Most addresses have one, some have thousands. */
  readonly names: NameRecord[];
  /** Union of the selectors of its names. */
  selectors: SelectorSet;
  /** What was last told about it. */
  told: SelectorSet;
}

/** An address's selectors are others than before. Empty: nothing selects it any more. */
export interface AddressChange {
  readonly address: Address;
  readonly selectors: SelectorSet;
  readonly before: SelectorSet;
}

/** Whether names may give this address selectors at all (S22): not where it belongs to an endpoint, a node, a service. */
export type Admission = (address: Address) => boolean;

type AddressKey = number | string;

export class Links {
  readonly #names = new Map<string, NameRecord>();
  readonly #addresses = new Map<AddressKey, AddressRecord>();
  readonly #selectors = new NameSelectors();
  readonly #sets = new SelectorSets();
  readonly #touched = new Set<AddressRecord>();
  readonly #admits: Admission;

  constructor(admits: Admission) {
    this.#admits = admits;
  }

  /** Names and addresses that are known. */
  get size(): { readonly names: number; readonly addresses: number } {
    return { names: this.#names.size, addresses: this.#addresses.size };
  }

  /** The record of a canonical name; a new one is forgotten unless something holds it. */
  name(name: string): NameRecord {
    const known = this.#names.get(name);
    return known ?? { name, selectors: this.#sets.of(this.#selectors.of(name)), holders: new Map() };
  }

  /** The record of an address; its bytes are copied when it is new. */
  address(address: Address): AddressRecord {
    const key = addressKey(address);
    const known = this.#addresses.get(key);
    if (known !== undefined) return known;
    const copy = { family: address.family, bytes: address.bytes.slice() };
    return { key, address: copy, names: [], selectors: NO_SELECTORS, told: NO_SELECTORS };
  }

  hold(name: NameRecord, address: AddressRecord): void {
    const holders = name.holders.get(address) ?? 0;
    name.holders.set(address, holders + 1);
    if (holders > 0) return;
    if (name.holders.size === 1) this.#names.set(name.name, name);
    if (address.names.push(name) === 1) this.#addresses.set(address.key, address);
    this.#touched.add(address);
    address.selectors = this.#sets.union(address.selectors, name.selectors);
  }

  release(name: NameRecord, address: AddressRecord): void {
    const holders = name.holders.get(address) ?? 0;
    if (holders > 1) {
      name.holders.set(address, holders - 1);
      return;
    }
    name.holders.delete(address);
    if (name.holders.size === 0) this.#names.delete(name.name);
    const last = address.names.pop()!;
    if (last !== name) address.names[address.names.indexOf(name)] = last;
    if (address.names.length === 0) this.#addresses.delete(address.key);
    this.#touched.add(address);
    if (name.selectors !== NO_SELECTORS) this.#reselect(address);
  }

  /** Makes `wanted` the selectors that there are: names learned earlier are selected by those that come later. */
  select(wanted: readonly NameSelector[]): void {
    const { added, gone } = this.#selectors.replace(wanted);
    if (added.size === 0 && gone.size === 0) return;
    const affected = new Set<AddressRecord>();
    for (const record of this.#names.values()) {
      const next = [...record.selectors.selectors.filter((text) => !gone.has(text)), ...added.of(record.name)];
      const selectors = this.#sets.of(next);
      if (selectors === record.selectors) continue;
      record.selectors = selectors;
      for (const address of record.holders.keys()) affected.add(address);
    }
    for (const address of affected) this.#reselect(address);
    this.#sets.drop(gone);
  }

  /** Looks again at whether an address may have selectors. */
  reconsider(address: Address): void {
    const record = this.#addresses.get(addressKey(address));
    if (record !== undefined) this.#touched.add(record);
  }

  reconsiderAll(): void {
    for (const record of this.#addresses.values()) this.#touched.add(record);
  }

  /** Addresses whose selectors differ from what was told before; they count as told from here on. */
  changes(): readonly AddressChange[] {
    if (this.#touched.size === 0) return [];
    const changes: AddressChange[] = [];
    for (const record of this.#touched) {
      const admitted = record.selectors !== NO_SELECTORS && this.#admits(record.address);
      const selectors = admitted ? record.selectors : NO_SELECTORS;
      if (selectors === record.told) continue;
      changes.push({ address: record.address, selectors, before: record.told });
      record.told = selectors;
    }
    this.#touched.clear();
    return changes;
  }

  #reselect(address: AddressRecord): void {
    let selectors = NO_SELECTORS;
    for (const name of address.names) selectors = this.#sets.union(selectors, name.selectors);
    address.selectors = selectors;
    this.#touched.add(address);
  }
}

/** A number for IPv4, 16 characters of a byte each for IPv6. */
function addressKey({ family, bytes }: Address): AddressKey {
  if (family === 6) return String.fromCharCode(...bytes);
  return ((bytes[0]! << 24) | (bytes[1]! << 16) | (bytes[2]! << 8) | bytes[3]!) >>> 0;
}
