/** Nodes and the tunnels to them as cilium-dbg prints them. Pure. */
import type { NodeElement, TunnelMapFields } from '../../agent/api/models.ts';
import type { Row } from '../output/table.ts';

export function nodeRows(nodes: readonly NodeElement[]): Row[] {
  const rows = nodes.map(({ name = '', source = '', 'primary-address': address = {} }): Row => {
    const { ipv4 = {}, ipv6 = {} } = address;
    return [name, ipv4.ip ?? '', ipv4['alloc-range'] ?? '', ipv6.ip ?? '', ipv6['alloc-range'] ?? '', source];
  });
  return [['Name', 'IPv4 Address', 'Endpoint CIDR', 'IPv6 Address', 'Endpoint CIDR', 'Source'], ...rows];
}

export function tunnelRows(entries: readonly TunnelMapFields[]): Row[] {
  const rows = entries
    .toSorted((a, b) => (a.prefix < b.prefix ? -1 : 1))
    .map((entry): Row => [entry.prefix, entry['tunnel-endpoint']]);
  return [['TUNNEL', 'VALUE'], ...rows];
}
