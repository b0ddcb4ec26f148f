import { setImmediate as nextTurn } from 'node:timers/promises';
import { addressEquals, formatAddress, formatCidr, prefixKey, type Cidr } from '../../model/address.ts';
import type { IpcacheEntry, IpcacheTarget } from '../../model/datapath.ts';
import { identityId } from '../../model/identity.ts';
import { IPCACHE_STATIC_BITS, IPCACHE_TUNNEL } from '../../../bpf/gen/constants.ts';
import { decode, encode, ipcacheInfo, ipcacheKey } from '../../../bpf/gen/structs.ts';
import type { MapHandle } from '../../kernel/bpf-map.ts';
import type { ObjectType } from '../../reconcile/target.ts';
import { addressFromField, type DescribeEntry } from './dump.ts';

const NO_TUNNEL = new Uint8Array();

export function encodeIpcacheKey({ address, length }: Cidr): Uint8Array {
  return encode(ipcacheKey, {
    prefixlen: IPCACHE_STATIC_BITS + length,
    family: address.family,
    addr: address.bytes,
  });
}

export function decodeIpcacheKey(bytes: Uint8Array): Cidr {
  const { prefixlen, family, addr } = decode(ipcacheKey, bytes);
  return { address: addressFromField(addr, family), length: prefixlen - IPCACHE_STATIC_BITS };
}

export function encodeIpcacheValue({ identity, tunnelEndpoint }: IpcacheEntry): Uint8Array {
  return encode(ipcacheInfo, {
    identity,
    flags: tunnelEndpoint === undefined ? 0 : IPCACHE_TUNNEL,
    tunnelFamily: tunnelEndpoint?.family ?? 0,
    tunnel: tunnelEndpoint?.bytes ?? NO_TUNNEL,
  });
}

export function decodeIpcacheEntry(key: Uint8Array, value: Uint8Array): IpcacheEntry {
  const { identity, flags, tunnelFamily, tunnel } = decode(ipcacheInfo, value);
  return {
    prefix: decodeIpcacheKey(key),
    identity: identityId(identity),
    ...((flags & IPCACHE_TUNNEL) !== 0 && { tunnelEndpoint: addressFromField(tunnel, tunnelFamily) }),
  };
}

export const describeIpcacheEntry: DescribeEntry = (key, value) => {
  const entry = decodeIpcacheEntry(key, value);
  const prefix = formatCidr(entry.prefix);
  const tunnel = entry.tunnelEndpoint === undefined ? '0.0.0.0' : formatAddress(entry.tunnelEndpoint);
  const flags = entry.tunnelEndpoint === undefined ? '<none>' : 'hastunnel';
  return {
    key: prefix,
    value: `identity=${entry.identity} encryptkey=0 tunnelendpoint=${tunnel} flags=${flags}`,
    fields: { prefix, identity: entry.identity, ...(entry.tunnelEndpoint && { 'tunnel-endpoint': tunnel }) },
  };
};

const textOf = (key: Uint8Array): string => Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1');

/** Entries that are encoded in one turn of the event loop: some 4 ms. */
const SLICE = 2_048;

/** A turn of the event loop for each slice: a large cluster has 100,000 entries. */
async function* slices<T>(all: readonly T[]): AsyncGenerator<readonly T[]> {
  for (let at = 0; at < all.length; at += SLICE) {
    if (at > 0) await nextTurn();
    yield all.slice(at, at + SLICE);
  }
}

/** How a reconciler tells ipcache entries apart. */
export const ipcacheEntryType: ObjectType<IpcacheEntry, Cidr> = {
  keyOf: (entry) => entry.prefix,
  keyText: ({ address, length }) => prefixKey(address.bytes, length),
  equals: (a, b) => {
    const [x, y] = [a.tunnelEndpoint, b.tunnelEndpoint];
    return a.identity === b.identity && (x === undefined || y === undefined ? x === y : addressEquals(x, y));
  },
};

/** `weir_ipcache`. Every change makes remembered verdicts stale: connections are judged again by the new identities. */
export class IpcacheMap implements IpcacheTarget {
  readonly #map: MapHandle;
  readonly #raiseRevision: () => void;

  /** @param raiseRevision called after each change of the map, never before (bpf/lib/types.h, weir_revision) */
  constructor(map: MapHandle, raiseRevision: () => void) {
    this.#map = map;
    this.#raiseRevision = raiseRevision;
  }

  /** @throws WeirError BPF_MAP_FULL, BPF_MAP_FAILED */
  async update(entries: readonly IpcacheEntry[]): Promise<void> {
    if (entries.length === 0) return;
    await this.#changing(async () => {
      for await (const slice of slices(entries)) {
        const keys = slice.map(({ prefix }) => encodeIpcacheKey(prefix));
        await this.#map.updateBatch(Buffer.concat(keys), Buffer.concat(slice.map(encodeIpcacheValue)));
      }
    });
  }

  /** @throws WeirError BPF_MAP_FAILED */
  async delete(prefixes: readonly Cidr[]): Promise<void> {
    if (prefixes.length === 0) return;
    await this.#changing(() => this.#map.deleteBatch(Buffer.concat(prefixes.map(encodeIpcacheKey))));
  }

  /** @throws WeirError BPF_MAP_FAILED */
  async prune(desired: readonly IpcacheEntry[]): Promise<void> {
    const wanted = new Set<string>();
    for await (const slice of slices(desired)) {
      for (const { prefix } of slice) wanted.add(textOf(encodeIpcacheKey(prefix)));
    }
    const stale: Uint8Array[] = [];
    for await (const { key } of this.#map.entries()) if (!wanted.has(textOf(key))) stale.push(key);
    if (stale.length > 0) await this.#changing(() => this.#map.deleteBatch(Buffer.concat(stale)));
  }

  async *entries(): AsyncGenerator<IpcacheEntry> {
    for await (const { key, value } of this.#map.entries()) yield decodeIpcacheEntry(key, value);
  }

  async #changing(change: () => Promise<unknown>): Promise<void> {
    try {
      await change();
    } finally {
      // Also after a failure: part of the batch may have been applied.
      this.#raiseRevision();
    }
  }
}
