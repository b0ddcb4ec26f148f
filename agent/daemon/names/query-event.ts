import type { QueryRecord } from '../../../dns-proxy/contract.ts';
import type { DnsEvent } from '../../api/models.ts';

/** Types of records that people meet (IANA "Resource Record (RR) TYPEs"). */
const TYPES = new Map<number, string>([
  [1, 'A'],
  [2, 'NS'],
  [5, 'CNAME'],
  [6, 'SOA'],
  [12, 'PTR'],
  [15, 'MX'],
  [16, 'TXT'],
  [28, 'AAAA'],
  [33, 'SRV'],
  [43, 'DS'],
  [46, 'RRSIG'],
  [48, 'DNSKEY'],
  [64, 'SVCB'],
  [65, 'HTTPS'],
  [255, 'ANY'],
]);

/** Codes of answers (IANA "DNS RCODEs"). */
const RCODES = new Map<number, string>([
  [0, 'NOERROR'],
  [1, 'FORMERR'],
  [2, 'SERVFAIL'],
  [3, 'NXDOMAIN'],
  [4, 'NOTIMP'],
  [5, 'REFUSED'],
]);

/** What was asked, or answered, in words. */
export function dnsEvent({ kind, name, type, rcode, ttl, addresses, aliases, milliseconds }: QueryRecord): DnsEvent {
  return {
    kind: kind === 'query' ? 'request' : 'response',
    query: name,
    qtype: TYPES.get(type) ?? `TYPE${type}`,
    ...(rcode !== undefined && { rcode: RCODES.get(rcode) ?? `RCODE${rcode}` }),
    ...(ttl !== undefined && { ttl }),
    ...(addresses !== undefined && addresses.length > 0 && { ips: addresses }),
    ...(aliases !== undefined && aliases.length > 0 && { cnames: aliases }),
    ...(milliseconds !== undefined && { milliseconds }),
  };
}
