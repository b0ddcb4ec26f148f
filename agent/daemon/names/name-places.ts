import type { AddressChange } from '../../fqdn/links.ts';
import { NO_SELECTORS, type SelectorSet } from '../../fqdn/selectorset.ts';
import type { IdentityRegistry } from '../../identity/registry.ts';
import type { Ipcache, IpcacheChange, IpcacheRecord } from '../../ipcache/ipcache.ts';
import { formatAddress, type Address, type Cidr } from '../../model/address.ts';
import type { Clock } from '../../model/clock.ts';
import type { Label } from '../../model/labels.ts';
import type { NameIdentity, NameIdentityTable } from './name-identity.ts';
import type { PodPrefixes } from './pod-prefixes.ts';

/** Who speaks in the ipcache, and as what. */
const [OWNER, SOURCE] = ['names', 'fqdn'] as const;

/** How long until what failed is tried again, in milliseconds. */
const RETRY_MS = 5_000;

export interface NamePlacesOptions {
  readonly ipcache: Ipcache;
  readonly identities: Pick<IdentityRegistry, 'find'>;
  readonly table: NameIdentityTable;
  /** Resolves when the kernel's ipcache holds what is known of the prefixes; rejects when it cannot. */
  readonly flushIpcache: (prefixes: readonly Cidr[]) => Promise<void>;
  /** Where pods of the cluster live. */
  readonly podPrefixes: Pick<PodPrefixes, 'has'>;
  readonly clock: Clock;
  /** What goes wrong while nobody waits for it. */
  readonly onError: (message: string, error: unknown) => void;
}

/** One address that names have given selectors. */
interface Place {
  readonly prefix: Cidr;
  selectors: SelectorSet;
  wanted: NameIdentity | undefined;
  /** What the ipcache says. */
  given: NameIdentity | undefined;
  /** Settles when the kernel holds what is wanted; undefined when it does. */
  work: Promise<void> | undefined;
}

/**
 * Puts addresses into the ipcache as the names of DNS answers select them. No packet may carry an identity that a policy
 * map does not know, so the maps follow before the ipcache does. An address is never given an identity where an endpoint
 * or a node lives (S22).
 */
export class NamePlaces {
  readonly #options: NamePlacesOptions;
  readonly #places = new Map<string, Place>();
  #cancelRetry: (() => void) | undefined;

  constructor(options: NamePlacesOptions) {
    this.#options = options;
  }

  /** How many addresses have an identity by their names. */
  get size(): number {
    return this.#places.size;
  }

  /**
   * Whether names may select the address at all: not where the ipcache knows a workload or a node, nor where a pod of the
   * cluster may come to live (S22).
   */
  admits(address: Address): boolean {
    const { ipcache, podPrefixes } = this.#options;
    return !isSpecial(address) && !podPrefixes.has(address) && isOfTheWorld(ipcache.lookup(address, SOURCE));
  }

  /**
   * Makes the addresses what their selectors say. Resolves when the kernel holds it.
   *
   * @throws WeirError when it cannot be now; it is tried again all the same.
   */
  apply(changes: readonly AddressChange[]): Promise<void> {
    return this.#settle(changes.map(({ address, selectors }) => this.#want(this.#place(address), selectors)));
  }

  /** The same selectors, though what policies say of prefixes around the addresses may be something else. */
  refresh(): Promise<void> {
    const stale = [...this.#places.values()].filter((place) => {
      const before = place.wanted;
      return this.#want(place, place.selectors).wanted !== before;
    });
    return this.#settle(stale);
  }

  /** Settles when the kernel holds what is wanted of the addresses; undefined when it does already. */
  pending(addresses: readonly Address[]): Promise<void> | undefined {
    const work = addresses.flatMap((address) => this.#places.get(formatAddress(address))?.work ?? []);
    return work.length === 0 ? undefined : Promise.all(work).then(() => undefined);
  }

  stop(): void {
    this.#cancelRetry?.();
  }

  #place(address: Address): Place {
    const key = formatAddress(address);
    const known = this.#places.get(key);
    if (known !== undefined) return known;
    const prefix = { address, length: address.bytes.length * 8 };
    const place = { prefix, selectors: NO_SELECTORS, wanted: undefined, given: undefined, work: undefined };
    this.#places.set(key, place);
    return place;
  }

  #want(place: Place, selectors: SelectorSet): Place {
    const { table } = this.#options;
    const before = place.wanted;
    place.selectors = selectors;
    const { address } = place.prefix;
    place.wanted =
      selectors.selectors.length === 0 ? undefined : table.hold(selectors, address.family, this.#prefixLabels(address));
    if (before !== undefined) table.release(before);
    return place;
  }

  /** Labels of the prefix that policies name around the address: the address must go on matching their CIDRs (S21). */
  #prefixLabels(address: Address): readonly Label[] {
    const { ipcache, identities } = this.#options;
    const around = ipcache.lookup(address, SOURCE);
    if (around?.source !== 'generated') return [];
    return identities.find(around.identity)?.labels.filter(({ source }) => source === 'cidr') ?? [];
  }

  /** Those whose identity every policy map knows go at once, the others do not hold them up. */
  #settle(places: readonly Place[]): Promise<void> {
    const ready = places.filter(isReady);
    const rest = places.filter((place) => !isReady(place));
    const work = [
      ...(ready.length > 0 ? [this.#follow(ready, this.#put(ready))] : []),
      ...(rest.length > 0 ? [this.#follow(rest, this.#prepare(rest))] : []),
    ];
    return work.length === 1 ? work[0]! : Promise.all(work).then(() => undefined);
  }

  #follow(places: readonly Place[], work: Promise<void>): Promise<void> {
    for (const place of places) place.work = work;
    const end = (): void => {
      for (const place of places) {
        if (place.work !== work) continue;
        place.work = undefined;
        if (place.wanted === undefined && place.given === undefined) this.#forget(place);
      }
    };
    work.then(end, (error: unknown) => {
      end();
      this.#options.onError('addresses of names cannot be brought into force, trying again', error);
      this.#retryLater();
    });
    return work;
  }

  async #prepare(places: readonly Place[]): Promise<void> {
    const [outcome] = await Promise.allSettled([
      this.#options.table.makeKnown(places.flatMap((place) => place.wanted ?? [])),
    ]);
    await this.#put(places.filter(isReady));
    if (outcome.status === 'rejected') throw outcome.reason;
    // What is not ready now is wanted otherwise than before, and somebody is at work on it.
    await Promise.all(places.filter((place) => !isReady(place)).flatMap(({ work }) => work ?? []));
  }

  async #put(places: readonly Place[]): Promise<void> {
    const { ipcache, table, flushIpcache } = this.#options;
    const before = places.flatMap(({ given }) => given ?? []);
    const prefixes = places.map(({ prefix }) => prefix);
    ipcache.apply(
      places.flatMap(recordOf),
      places.flatMap((place) => (place.wanted === undefined ? [removalOf(place)] : [])),
    );
    for (const place of places) {
      place.given = place.wanted;
      if (place.given !== undefined) place.given.users++;
    }
    try {
      await flushIpcache(prefixes);
    } finally {
      // The kernel may still resolve an address to what it was before; numbers stay known for a while after this.
      for (const held of before) table.release(held);
    }
  }

  #forget({ prefix }: Place): void {
    this.#places.delete(formatAddress(prefix.address));
  }

  #retryLater(): void {
    this.#cancelRetry ??= this.#options.clock.after(RETRY_MS, () => {
      this.#cancelRetry = undefined;
      const due = [...this.#places.values()].filter(
        (place) => place.work === undefined && place.given !== place.wanted,
      );
      // What fails again is told, and tried again.
      if (due.length > 0) this.#settle(due).catch(() => undefined);
    });
  }
}

/** Changes of the ipcache that others made. */
export function foreignChanges(changes: readonly IpcacheChange[]): readonly IpcacheChange[] {
  return changes.filter(({ before, after }) => [before, after].some((record) => record && record.source !== SOURCE));
}

/** Nothing more to be done before the ipcache may say it. */
function isReady({ wanted }: Place): boolean {
  return wanted === undefined || wanted.known !== undefined;
}

function recordOf({ wanted, prefix }: Place): readonly IpcacheRecord[] {
  if (wanted?.known === undefined) return [];
  return [{ prefix, identity: wanted.known.id, source: SOURCE, owner: OWNER }];
}

function removalOf({ prefix }: Place) {
  return { prefix, source: SOURCE, owner: OWNER };
}

/** A prefix that policies name, or the world itself: nobody is known to live there. */
function isOfTheWorld(record: IpcacheRecord | undefined): boolean {
  return record === undefined || record.source === 'generated' || record.prefix.length === 0;
}

/** Addresses that mean something on one machine or one link, or are those of several at once: no name opens them. */
function isSpecial({ family, bytes }: Address): boolean {
  const [a, b] = [bytes[0]!, bytes[1]!];
  if (family === 4) return a === 0 || a === 127 || a >= 224 || (a === 169 && b === 254);
  // Ten bytes of zeros: the unspecified address, loopback, and IPv4 in disguise.
  return a === 0xff || (a === 0xfe && (b & 0xc0) === 0x80) || bytes.subarray(0, 10).every((byte) => byte === 0);
}
