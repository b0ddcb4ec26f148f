/** Policy maps as `cilium-dbg bpf policy get` prints them. Pure. */
import type { PolicyMapFields } from '../../agent/api/models.ts';
import { protocolName } from '../../agent/model/port.ts';
import { styled, type Cell, type Row } from '../output/table.ts';
import { identityTexts, type IdentityLabels } from './identity.ts';

const AUTH_TYPES: Readonly<Record<number, string>> = {
  0: 'disabled',
  1: 'spire',
  2: 'test-always-fail',
  255: 'disabled',
};

/** `labels` undefined prints numbers. */
export function policyMapRows(entries: readonly PolicyMapFields[], labels: IdentityLabels | undefined): Row[] {
  const header = [
    'POLICY',
    'DIRECTION',
    labels === undefined ? 'IDENTITY' : 'LABELS (source:key[=value])',
    'PORT/PROTO',
    'PROXY PORT',
    'AUTH TYPE',
    'BYTES',
    'PACKETS',
    'PREFIX',
    'COOKIE',
  ];
  return [header, ...entries.toSorted(byKey).flatMap((entry) => entryLines(entry, labels))];
}

function entryLines(entry: PolicyMapFields, labels: IdentityLabels | undefined): Row[] {
  const peers = labels === undefined ? [String(entry.identity)] : peerTexts(entry.identity, labels);
  const [first, ...others] = peers;
  const allowed = entry.audited ? styled('warn', 'Audit') : styled('good', 'Allow');
  const verdict: Cell = entry.deny ? styled('bad', 'Deny') : allowed;
  return [
    [
      verdict,
      entry.direction === 'ingress' ? 'Ingress' : 'Egress',
      first!,
      portText(entry),
      entry['proxy-port'] === 0 ? 'NONE' : String(entry['proxy-port']),
      AUTH_TYPES[entry['auth-type']] ?? String(entry['auth-type']),
      entry.bytes === undefined ? '-' : String(entry.bytes),
      entry.packets === undefined ? '-' : String(entry.packets),
      String(prefixLength(entry)),
      String(entry.cookie),
    ],
    ...others.map((text): Row => ['', '', text]),
  ];
}

function peerTexts(identity: number, labels: IdentityLabels): readonly string[] {
  return identity === 0 ? ['ANY'] : identityTexts(identity, labels);
}

/** `80/TCP`, `8000-8191/TCP` for a masked port, `ANY/UDP` for every port, `ANY` for every protocol. */
export function portText(entry: Pick<PolicyMapFields, 'protocol' | 'port' | 'port-prefix-length'>): string {
  if (entry.protocol === 0) return 'ANY';
  const protocol = protocolName(entry.protocol);
  const free = 16 - entry['port-prefix-length'];
  if (free === 16) return `ANY/${protocol}`;
  const last = entry.port + (1 << free) - 1;
  return free === 0 ? `${entry.port}/${protocol}` : `${entry.port}-${last}/${protocol}`;
}

/** Significant bits of protocol and port together: 0, or 8 to 24. */
function prefixLength(entry: PolicyMapFields): number {
  return entry.protocol === 0 ? 0 : 8 + entry['port-prefix-length'];
}

function byKey(a: PolicyMapFields, b: PolicyMapFields): number {
  if (a.direction !== b.direction) return a.direction === 'ingress' ? -1 : 1;
  return (
    a.identity - b.identity ||
    a.protocol - b.protocol ||
    a.port - b.port ||
    a['port-prefix-length'] - b['port-prefix-length']
  );
}
