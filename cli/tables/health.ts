/** How nodes reach each other, as cilium-health prints it. Pure. */
import type {
  AddressHealthStatus,
  ConnectivityStatus,
  HealthStatusResponse,
  NodeHealthStatus,
  PathStatus,
} from '../../agent/api/models.ts';
import { plain, renderTable, styled, type Paint, type Row } from '../output/table.ts';

/** Whether everything of a node answered; undefined while not all of it was probed. */
export function isReachable({ host, 'health-endpoint': endpoint }: NodeHealthStatus): boolean | undefined {
  return all([...pathsOf(host), ...pathsOf(endpoint)]);
}

function all(paths: readonly PathStatus[]): boolean | undefined {
  const outcomes = paths.flatMap(({ icmp, http }) => [icmp, http]);
  if (outcomes.some((outcome) => outcome !== undefined && !isWell(outcome))) return false;
  return outcomes.length === 0 || outcomes.includes(undefined) ? undefined : true;
}

const isWell = ({ status = '' }: ConnectivityStatus): boolean => status === '';

function pathsOf(health: AddressHealthStatus | undefined): readonly PathStatus[] {
  const primary = health?.['primary-address'];
  return [...(primary === undefined ? [] : [primary]), ...(health?.['secondary-addresses'] ?? [])];
}

/** Everything that is known, node by node. */
export function healthText(
  report: HealthStatusResponse,
  options: { readonly succinct: boolean },
  paint: Paint = plain,
): string {
  const { timestamp = 'never', probeInterval = '', nodes = [], local } = report;
  const head = [
    ['Probe time:', timestamp],
    ['Probe interval:', probeInterval],
  ];
  const title = (name = ''): string => (name === local?.name ? `${name} (localhost)` : name);
  if (options.succinct) {
    const rows = nodes.map(({ name, host, 'health-endpoint': endpoint }): Row => {
      return [`  ${title(name)}`, pathsOf(host)[0]?.ip ?? '', wordFor(pathsOf(host)), wordFor(pathsOf(endpoint))];
    });
    return `${renderTable(head)}${renderTable([['  Name', 'IP', 'Node', 'Endpoints'], ...rows], paint)}`;
  }
  const lines = nodes.flatMap(({ name, host, 'health-endpoint': endpoint }) => [
    `  ${title(name)}:`,
    ...pathsOf(host).flatMap((path) => pathLines('Host', path, paint)),
    ...pathsOf(endpoint).flatMap((path) => pathLines('Endpoint', path, paint)),
  ]);
  return `${renderTable(head)}${['Nodes:', ...lines].join('\n')}\n`;
}

function wordFor(paths: readonly PathStatus[]): Row[number] {
  if (paths.length === 0) return styled('dim', 'none');
  const reachable = all(paths);
  if (reachable === undefined) return styled('dim', 'unknown');
  return reachable ? styled('good', 'reachable') : styled('bad', 'unreachable');
}

function pathLines(what: string, { ip = '', icmp, http }: PathStatus, paint: Paint): string[] {
  return [
    `    ${what} connectivity to ${ip}:`,
    `      ICMP to stack:   ${outcomeText(icmp, paint)}`,
    `      HTTP to agent:   ${outcomeText(http, paint)}`,
  ];
}

function outcomeText(outcome: ConnectivityStatus | undefined, paint: Paint): string {
  if (outcome === undefined) return paint('dim', 'not probed yet');
  return isWell(outcome)
    ? `${paint('good', 'OK')}, RTT=${latencyText(outcome.latency ?? 0)}`
    : paint('bad', outcome.status ?? '');
}

/** As Go prints durations: `412.5µs`, `1.2ms`. */
function latencyText(nanoseconds: number): string {
  const [unit, size] = nanoseconds < 1e6 ? ['µs', 1e3] : nanoseconds < 1e9 ? ['ms', 1e6] : ['s', 1e9];
  return `${Number((nanoseconds / size).toFixed(3))}${unit}`;
}
