/** What the cache holds, as lines of JSON: each says something of one name of one endpoint; later ones add to earlier ones. */
import { formatAddress, parseAddress, type Address } from '../model/address.ts';
import { endpointId, type EndpointId } from '../model/endpoint.ts';
import { WeirError } from '../model/errors.ts';
import type { CacheEntry } from './namecache.ts';

/** Addresses of one name of one endpoint that end, or ended, together. */
export interface NameRecord {
  readonly endpoint: EndpointId;
  readonly name: string;
  readonly addresses: readonly Address[];
  /** Milliseconds since the epoch. */
  readonly until: number;
  readonly zombie: boolean;
}

/** The endpoint is no more: what earlier lines say of it is void. */
export interface EndpointGone {
  readonly gone: EndpointId;
}

export type NameLine = NameRecord | EndpointGone;

/** A line without its end. */
export function encodeLine(line: NameLine): string {
  if ('gone' in line) return JSON.stringify({ gone: line.gone });
  const { endpoint, name, addresses, until, zombie } = line;
  return JSON.stringify({ endpoint, name, addresses: addresses.map(formatAddress), until, ...(zombie && { zombie }) });
}

/**
 * Reads what {@link encodeLine} wrote.
 *
 * @throws WeirError STATE_CORRUPT, ADDRESS_INVALID
 */
export function decodeLine(text: string): NameLine {
  const fail = (field: string): never => {
    throw new WeirError('STATE_CORRUPT', 'is not what was written there', { field });
  };
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return fail('line');
  }
  if (typeof json !== 'object' || json === null) return fail('line');
  const { endpoint, name, addresses, until, zombie, gone } = json as Record<string, unknown>;
  if (gone !== undefined) return { gone: isEndpoint(gone) ? endpointId(gone) : fail('gone') };
  if (!isEndpoint(endpoint)) return fail('endpoint');
  if (typeof name !== 'string') return fail('name');
  if (typeof until !== 'number' || !Number.isSafeInteger(until)) return fail('until');
  if (!Array.isArray(addresses) || !addresses.every((each) => typeof each === 'string')) return fail('addresses');
  const base = { endpoint: endpointId(endpoint), name, addresses: addresses.map(parseAddress), until };
  return { ...base, zombie: zombie === true };
}

/** Entries that stand next to each other, of one name and end, as one record. */
export function* recordsOf(entries: Iterable<CacheEntry>): Generator<NameRecord> {
  let open: (Omit<NameRecord, 'addresses'> & { addresses: Address[] }) | undefined;
  for (const { address, ...key } of entries) {
    if (
      open?.endpoint === key.endpoint &&
      open.name === key.name &&
      open.until === key.until &&
      open.zombie === key.zombie
    ) {
      open.addresses.push(address);
      continue;
    }
    if (open !== undefined) yield open;
    open = { ...key, addresses: [address] };
  }
  if (open !== undefined) yield open;
}

/** What lines, one after the other, come to. */
export function entriesOf(lines: Iterable<NameLine>): CacheEntry[] {
  const byEndpoint = new Map<EndpointId, CacheEntry[]>();
  for (const line of lines) {
    if ('gone' in line) {
      byEndpoint.delete(line.gone);
      continue;
    }
    const { addresses, ...rest } = line;
    const entries = byEndpoint.get(line.endpoint) ?? [];
    byEndpoint.set(line.endpoint, entries);
    for (const address of addresses) entries.push({ ...rest, address });
  }
  return [...byEndpoint.values()].flat();
}

function isEndpoint(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < 65536;
}
