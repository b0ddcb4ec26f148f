/** The cache as a document on disk, for the next start: endpoint → name → address → milliseconds. */
import { formatAddress, parseAddress } from '../model/address.ts';
import { endpointId } from '../model/endpoint.ts';
import { WeirError } from '../model/errors.ts';
import type { CacheEntry } from './namecache.ts';

type Entries = Record<string, Record<string, Record<string, number>>>;

export interface NameSnapshot {
  readonly version: 1;
  readonly leases: Entries;
  readonly zombies: Entries;
}

export function encodeNames(entries: Iterable<CacheEntry>): NameSnapshot {
  const snapshot: NameSnapshot = { version: 1, leases: table(), zombies: table() };
  for (const { endpoint, name, address, until, zombie } of entries) {
    const names = ((zombie ? snapshot.zombies : snapshot.leases)[String(endpoint)] ??= table());
    (names[name] ??= table())[formatAddress(address)] = until;
  }
  return snapshot;
}

/**
 * Reads what {@link encodeNames} wrote.
 *
 * @throws WeirError STATE_CORRUPT, ADDRESS_INVALID
 */
export function decodeNames(json: unknown): CacheEntry[] {
  const { version, leases, zombies } = record(json, 'the snapshot');
  if (version !== 1) throw new WeirError('STATE_CORRUPT', 'is of another version', { field: 'version' });
  return [...decodeEntries(leases, 'leases', false), ...decodeEntries(zombies, 'zombies', true)];
}

function* decodeEntries(json: unknown, field: string, zombie: boolean): Generator<CacheEntry> {
  for (const [id, names] of Object.entries(record(json, field))) {
    if (!/^\d+$/.test(id)) throw new WeirError('STATE_CORRUPT', `${id} is no endpoint`, { field });
    for (const [name, addresses] of Object.entries(record(names, `${field}.${id}`))) {
      for (const [address, until] of Object.entries(record(addresses, `${field}.${id}.${name}`))) {
        if (!Number.isSafeInteger(until))
          throw new WeirError('STATE_CORRUPT', 'is no time', { field: `${field}.${id}.${name}` });
        yield {
          endpoint: endpointId(Number(id)),
          name,
          address: parseAddress(address),
          until: until as number,
          zombie,
        };
      }
    }
  }
}

/** An object that takes any key: names come from the network, and `__proto__.` is one. */
function table<T>(): Record<string, T> {
  return Object.create(null) as Record<string, T>;
}

function record(json: unknown, field: string): Readonly<Record<string, unknown>> {
  if (typeof json === 'object' && json !== null && !Array.isArray(json)) return json as Record<string, unknown>;
  throw new WeirError('STATE_CORRUPT', 'is no object', { field });
}
