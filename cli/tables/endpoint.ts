/** Endpoints as cilium-dbg prints them. Pure. */
import type {
  ConfigurationMap,
  Endpoint,
  EndpointHealth,
  EndpointPolicyStatus,
  EndpointStatusLog,
} from '../../agent/api/models.ts';
import { styled, type Cell, type Row, type Style } from '../output/table.ts';

const HEADERS: readonly Row[] = [
  [
    'ENDPOINT',
    'POLICY (ingress)',
    'POLICY (egress)',
    'IDENTITY',
    'LABELS (source:key[=value])',
    'IPv6',
    'IPv4',
    'STATUS',
  ],
  ['', 'ENFORCEMENT', 'ENFORCEMENT'],
];

const UNKNOWN = 'Unknown';
/** Share of a policy map from which on it is worth a word. */
const NEARLY_FULL = 0.9;

/** One line a label; all else stands on an endpoint's first line. */
export function endpointRows(endpoints: readonly Endpoint[], headers = true): Row[] {
  const rows = endpoints.toSorted((a, b) => a.id - b.id).flatMap(endpointLines);
  return headers ? [...HEADERS, ...rows] : rows;
}

function endpointLines(endpoint: Endpoint): Row[] {
  const [ingress, egress] = enforcement(endpoint.status?.policy);
  const [ipv6, ipv4] = addresses(endpoint);
  const labels = endpoint.status?.labels?.['security-relevant']?.toSorted() ?? [];
  const [first, ...others] = labels.length === 0 ? ['no labels'] : labels;
  const identity = endpoint.status?.identity?.id;
  return [
    [
      String(endpoint.id),
      ingress,
      egress,
      identity === undefined ? '<no label id>' : String(identity),
      first!,
      ipv6,
      ipv4,
      stateCell(endpoint),
    ],
    ...others.map((label): Row => ['', '', '', '', label]),
  ];
}

function enforcement(policy: EndpointPolicyStatus | undefined): readonly [string, string] {
  const enabled = policy?.realized?.['policy-enabled'];
  if (enabled === undefined) return [UNKNOWN, UNKNOWN];
  const audit = enabled.startsWith('audit-');
  const on = audit ? 'Disabled (Audit)' : 'Enabled';
  const directions = audit ? enabled.slice('audit-'.length) : enabled;
  const cell = (direction: 'ingress' | 'egress'): string => {
    const audited = policy?.['audited-policies']?.[direction].length ?? 0;
    const state = directions === direction || directions === 'both' ? on : 'Disabled';
    return audited === 0 ? state : `${state}, ${audited} audited`;
  };
  return [cell('ingress'), cell('egress')];
}

function addresses(endpoint: Endpoint): readonly [string, string] {
  const networking = endpoint.status?.networking;
  if (networking === undefined) return [UNKNOWN, UNKNOWN];
  const [pair] = networking.addressing ?? [];
  return pair === undefined ? ['No address', 'No address'] : [pair.ipv6 ?? '', pair.ipv4 ?? ''];
}

/** With a policy map that is full, or nearly, that is what one must know. */
function stateCell({ status }: Endpoint): Cell {
  const { state, 'policy-map': map } = status ?? {};
  if (state === undefined) return UNKNOWN;
  if (map?.lockdown === true) {
    return styled('bad', `${state}, lockdown: policy takes ${map.entries} of ${map['max-entries']} entries`);
  }
  if (map !== undefined && map.entries >= NEARLY_FULL * map['max-entries']) {
    return styled('warn', `${state}, policy takes ${map.entries} of ${map['max-entries']} entries`);
  }
  const style: Style = state === 'ready' ? 'good' : state === 'invalid' || state === 'not-ready' ? 'bad' : 'warn';
  return styled(style, state);
}

export function endpointLogRows(log: EndpointStatusLog): Row[] {
  return [
    ['Timestamp', 'Status', 'State', 'Message'],
    ...log.map((change): Row => [
      change.timestamp ?? '',
      change.code === 'failed' ? styled('bad', 'failed') : (change.code ?? ''),
      change.state ?? '',
      change.message ?? '',
    ]),
  ];
}

export function endpointHealthRows(health: EndpointHealth): Row[] {
  const cell = (status: string | undefined): Cell =>
    styled(status === 'OK' ? 'good' : status === 'Failure' ? 'bad' : 'warn', status ?? UNKNOWN);
  return [
    ['Overall Health:', cell(health.overallHealth)],
    ['BPF Health:', cell(health.bpf)],
    ['Policy Health:', cell(health.policy)],
    ['Connected:', health.connected === true ? styled('good', 'yes') : styled('bad', 'no')],
  ];
}

/** Options in the order of their names. */
export function optionRows(options: ConfigurationMap): Row[] {
  return Object.entries(options)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]): Row => [name, value]);
}
