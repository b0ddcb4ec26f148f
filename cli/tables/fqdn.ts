/** Names of the domain name system as cilium-dbg prints them. Pure. */
import type { DNSLookup, NameManager } from '../../agent/api/models.ts';
import type { Row } from '../output/table.ts';

export function lookupRows(lookups: readonly DNSLookup[]): Row[] {
  const rows = lookups.map((lookup): Row => [
    String(lookup['endpoint-id'] ?? 0),
    lookup.source ?? '',
    lookup.fqdn ?? '',
    String(lookup.ttl ?? 0),
    lookup['expiration-time'] ?? '',
    (lookup.ips ?? []).join(','),
  ]);
  return [['Endpoint', 'Source', 'FQDN', 'TTL', 'ExpirationTime', 'IPs'], ...rows];
}

export function nameSelectorRows({ FQDNPolicySelectors = [], DNSPollNames = [] }: NameManager): Row[] {
  const rows = FQDNPolicySelectors.map(({ selectorString = '', regexString = '' }): Row => [
    selectorString,
    regexString,
  ]);
  const polled = DNSPollNames.map((name): Row => [`polled: ${name}`, '']);
  return [['Selector', 'Expression'], ...rows, ...polled];
}
