import { namePattern, namePatternFault, canonicalName } from '../../../dns-proxy/rules/name-pattern.ts';
import type * as models from '../../api/models.ts';
import type { NameApi, NameFilter } from '../../api/server/contract.ts';
import type { EndpointIndex } from '../../endpoint/table.ts';
import type { CacheEntry } from '../../fqdn/namecache.ts';
import { recordsOf, type NameRecord } from '../../fqdn/record.ts';
import { cidrContains, formatAddress, parseCidr } from '../../model/address.ts';
import type { Clock } from '../../model/clock.ts';
import { WeirError } from '../../model/errors.ts';
import type { Names } from '../names/names.ts';

export interface NameApiParts {
  readonly names: Pick<Names, 'entries' | 'selectors' | 'clean' | 'polled'>;
  readonly endpoints: EndpointIndex;
  readonly clock: Clock;
  /** The proxy is to ask again about what it believes to be open. */
  readonly cleaned: () => void;
}

/** What endpoints learned from DNS, as the API shows it. */
export class NameApiAdapter implements NameApi {
  readonly #parts: NameApiParts;

  constructor(parts: NameApiParts) {
    this.#parts = parts;
  }

  cache(id: string | undefined, filter: NameFilter): readonly models.DNSLookup[] {
    const { names, endpoints, clock } = this.#parts;
    const endpoint = id === undefined ? undefined : endpoints.find(id).id;
    const matches = matcher(filter.matchpattern);
    const prefix = filter.cidr === undefined || filter.cidr === '' ? undefined : parseCidr(filter.cidr);
    const wanted = (entry: CacheEntry): boolean =>
      (endpoint === undefined || entry.endpoint === endpoint) &&
      (filter.source === undefined || filter.source === sourceOf(entry)) &&
      (prefix === undefined || cidrContains(prefix, entry.address)) &&
      (matches?.(entry.name) ?? true);
    const found = [...recordsOf(filtered(names.entries(), wanted))];
    return found.sort(byEndpointAndName).map((record) => lookupModel(record, clock.now()));
  }

  clean(matchpattern: string | undefined): void {
    const matches = matcher(matchpattern);
    this.#parts.names.clean(matches === undefined ? {} : { matches });
    this.#parts.cleaned();
  }

  selectors(): models.NameManager {
    const { names } = this.#parts;
    return {
      FQDNPolicySelectors: names.selectors.map(({ matchName = '', matchPattern = '' }) => ({
        regexString: regexOf(matchName, matchPattern),
        selectorString: `MatchName: ${matchName}, MatchPattern: ${matchPattern}`,
      })),
      DNSPollNames: names.polled,
    };
  }
}

function* filtered<T>(all: Iterable<T>, wanted: (item: T) => boolean): Generator<T> {
  for (const item of all) if (wanted(item)) yield item;
}

/** @throws WeirError REQUEST_INVALID */
function matcher(pattern: string | undefined): ((name: string) => boolean) | undefined {
  if (pattern === undefined || pattern === '') return undefined;
  const fault = namePatternFault(pattern);
  if (fault !== undefined) throw new WeirError('REQUEST_INVALID', fault, { field: 'matchpattern' });
  const compiled = namePattern(pattern);
  return (name) => compiled.matches(name);
}

function sourceOf({ zombie }: { readonly zombie: boolean }): 'lookup' | 'connection' {
  return zombie ? 'connection' : 'lookup';
}

function lookupModel(record: NameRecord, now: number): models.DNSLookup {
  const { endpoint, name, addresses, until } = record;
  return {
    'endpoint-id': endpoint,
    source: sourceOf(record),
    fqdn: name,
    ttl: Math.max(0, Math.ceil((until - now) / 1000)),
    'expiration-time': new Date(until).toISOString(),
    ips: addresses.map(formatAddress),
  };
}

function byEndpointAndName(a: NameRecord, b: NameRecord): number {
  return a.endpoint - b.endpoint || (a.name < b.name ? -1 : a.name > b.name ? 1 : a.until - b.until);
}

/** The selector as clients of the peer know it; names are matched without (S29). */
function regexOf(name: string, pattern: string): string {
  if (name !== '') return `^${canonicalName(name).replaceAll('.', '[.]')}$`;
  if (/^\*+\.?$/.test(pattern)) return '(^(([-a-zA-Z0-9_]+[.])+)$)|(^[.]$)';
  const text = canonicalName(pattern).replaceAll('.', '[.]');
  const below = text.replace(/^\*{2,}\[\.\]/, '([-a-zA-Z0-9_]+([.][-a-zA-Z0-9_]+){0,})[.]');
  return `^${below.replace(/(?<![\])])\*+/g, '[-a-zA-Z0-9_]*')}$`;
}
