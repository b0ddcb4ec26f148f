/** State of the agent as `cilium-dbg status` prints it. Pure. */
import type { ControllerStatus, Status, StatusResponse } from '../../agent/api/models.ts';
import { renderTable, styled, type Cell, type Paint, type Row } from '../output/table.ts';

export interface StatusRowOptions {
  /** Every address, controller and map, not only those that are not well. */
  readonly verbose: boolean;
  /** Milliseconds since the epoch, for ages. */
  readonly now: number;
}

/** The first thing that is not well, or undefined. */
export function statusFault(status: StatusResponse): string | undefined {
  const parts: readonly (readonly [string, Status | undefined])[] = [
    ['kvstore', status.kvstore],
    ['container runtime', status['container-runtime']],
    ['kubernetes', status.kubernetes],
    ['weir', status.cilium],
    ['hubble', status.hubble],
    ['cluster health', status.cluster?.ciliumHealth],
  ];
  const bad = parts.find(([, part]) => part?.state === 'Failure' || part?.state === 'Warning');
  if (bad !== undefined) return `${bad[0]}: ${bad[1]?.msg ?? ''}`;
  const failing = status.controllers?.find(isFailing);
  if (failing !== undefined) return `controller ${failing.name ?? ''}: ${failing.status?.['last-failure-msg'] ?? ''}`;
  return status.cilium === undefined ? 'weir: the agent tells nothing of itself' : undefined;
}

/** The whole state; each section is a table of its own. */
export function statusText(status: StatusResponse, options: StatusRowOptions, paint: Paint): string {
  const { verbose } = options;
  const controllers = shownControllers(status, verbose);
  const maps = verbose ? (status['bpf-maps']?.maps ?? []) : [];
  const sections: readonly (readonly Row[])[] = [
    summaryRows(status, options),
    controllers.length === 0 ? [] : controllerRows(controllers, options.now),
    maps.length === 0 ? [] : [['BPF Maps:'], ...maps.map((m): Row => [`  ${m.name ?? ''}`, String(m.size ?? 0)])],
  ];
  return sections.map((rows) => renderTable(rows, paint, { openEnded: true })).join('');
}

function summaryRows(status: StatusResponse, options: StatusRowOptions): Row[] {
  const addressing = Object.entries(status.ipam?.allocations ?? {});
  const devices = status['host-firewall']?.devices ?? [];
  return [
    ...partRows('KVStore:', status.kvstore),
    ...partRows('ContainerRuntime:', status['container-runtime']),
    ...partRows('Kubernetes:', status.kubernetes),
    ...textRows('Host firewall:', status['host-firewall']?.mode, devices.length > 0 ? `[${devices.join(', ')}]` : ''),
    ...socketLbRows(status),
    ...gapRows(status),
    ...policyMapRows(status),
    ...partRows('CNI Config file:', status['cni-file']),
    ...partRows('Weir:', status.cilium),
    ...textRows('Version:', status.version),
    ...textRows('Ready since:', sinceText(status['ready-since'], options.now)),
    ...staleRows(status),
    ...monitorRows(status),
    ...partRows('Hubble:', status.hubble),
    ...textRows('IPAM:', status.ipam?.status),
    ...(options.verbose && addressing.length > 0 ? [['Allocated addresses:'], ...addressRows(addressing)] : []),
    ...textRows('Cluster:', clusterText(status)),
    ...partRows('Cluster health:', status.cluster?.ciliumHealth),
    ...textRows('Routing:', routingText(status)),
    ...textRows('Host Routing:', status['host-routing']?.mode),
    ...masqueradingRows(status),
    ...(options.verbose ? textRows('Clock Source for BPF:', status['clock-source']?.mode) : []),
    ...proxyRows(status),
    ...identityRangeRows(status),
    ...textRows('Encryption:', status.encryption?.mode),
    ...endpointRows(status),
    ...controllerSummary(status.controllers ?? []),
  ];
}

/** The name of this node, and how many there are. */
function clusterText({ cluster }: StatusResponse): string | undefined {
  if (cluster?.nodes === undefined) return undefined;
  return `${cluster.self ?? ''}, ${cluster.nodes.length} node${cluster.nodes.length === 1 ? '' : 's'}`;
}

function routingText({ routing }: StatusResponse): string | undefined {
  const mode = routing?.['inter-host-routing-mode'];
  const protocol = routing?.['tunnel-protocol'];
  return mode && `Network: ${mode}${protocol === undefined ? '' : ` [${protocol}]`}`;
}

function partRows(name: string, part: Status | undefined): Row[] {
  return part === undefined ? [] : [[name, stateCell(part.state), part.msg ?? '']];
}

function textRows(name: string, ...texts: readonly (string | undefined)[]): Row[] {
  return texts[0] === undefined ? [] : [[name, ...texts.map((text) => text ?? '')]];
}

function stateCell(state: string | undefined): Cell {
  return styled(
    state === 'Ok' ? 'good' : state === 'Failure' ? 'bad' : state === 'Warning' ? 'warn' : 'dim',
    state ?? '',
  );
}

function onOff(enabled: boolean | undefined): string | undefined {
  return enabled === undefined ? undefined : enabled ? 'Enabled' : 'Disabled';
}

function staleRows({ stale }: StatusResponse): Row[] {
  const probes = Object.entries(stale ?? {}).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return probes.length === 0
    ? []
    : [['Stale status:', probes.map(([probe, since]) => `"${probe}" since ${since}`).join(', ')]];
}

function socketLbRows({ 'kube-proxy-replacement': replacement }: StatusResponse): Row[] {
  const socketLb = replacement?.features?.socketLB;
  if (socketLb === undefined) return [];
  return [['Socket LB:', onOff(socketLb.enabled) ?? '', socketLb.cgroup ?? '']];
}

function masqueradingRows({ masquerading, 'kube-proxy-replacement': replacement }: StatusResponse): Row[] {
  if (masquerading?.enabled !== true) return textRows('Masquerading:', onOff(masquerading?.enabled));
  const { mode = '', enabledProtocols, 'snat-exclusion-cidrs': except = [] } = masquerading;
  const families = `[IPv4: ${onOff(enabledProtocols?.ipv4)}, IPv6: ${onOff(enabledProtocols?.ipv6)}]`;
  return [['Masquerading:', mode, `[${replacement?.devices?.join(', ') ?? ''}]`, ...except, families]];
}

function gapRows({ 'policy-gaps': gaps = {} }: StatusResponse): Row[] {
  return Object.entries(gaps)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([policy, texts]) => texts.map((text) => `${policy}: ${text}`))
    .map((text, i): Row => [i === 0 ? 'Not enforced:' : '', styled('warn', text)]);
}

function policyMapRows({ 'policy-maps': maps = {} }: StatusResponse): Row[] {
  return Object.entries(maps).map(([endpoint, { entries, 'max-entries': max, lockdown }], i): Row => {
    const text = `endpoint ${endpoint}: ${entries} of ${max} entries`;
    const cell = lockdown ? styled('bad', `${text}, all its traffic is dropped`) : styled('warn', text);
    return [i === 0 ? 'Policy maps:' : '', cell];
  });
}

function monitorRows({ nodeMonitor }: StatusResponse): Row[] {
  if (nodeMonitor === undefined) return [];
  const { cpus, npages, pagesize, lost, unknown, limited = {} } = nodeMonitor;
  const memory = npages === undefined || npages === 0 ? '' : ` with ${npages}x${pagesize ?? 0} of shared memory`;
  const trouble: Row[] =
    (lost ?? 0) + (unknown ?? 0) === 0
      ? []
      : [['', styled('warn', `${lost ?? 0} events lost, ${unknown ?? 0} unknown notifications`)]];
  const rates = Object.entries(limited).map(([type, count]) => `${count} ${type}`);
  const restraint: Row[] =
    rates.length === 0 ? [] : [['', styled('warn', `left out by the rate limit: ${rates.join(', ')}`)]];
  return [['NodeMonitor:', `Listening for events on ${cpus ?? 0} CPUs${memory}`], ...trouble, ...restraint];
}

function addressRows(allocations: readonly (readonly [string, string])[]): Row[] {
  return allocations.toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([ip, owner]): Row => [`  ${ip} (${owner})`]);
}

function isFailing(controller: ControllerStatus): boolean {
  return (controller.status?.['consecutive-failure-count'] ?? 0) > 0;
}

function controllerSummary(controllers: readonly ControllerStatus[]): Row[] {
  if (controllers.length === 0) return [];
  const healthy = controllers.filter((controller) => !isFailing(controller)).length;
  const cell = styled(healthy < controllers.length ? 'bad' : 'good', `${healthy}/${controllers.length} healthy`);
  return [['Controller Status:', cell]];
}

function shownControllers({ controllers }: StatusResponse, verbose: boolean): readonly ControllerStatus[] {
  return verbose ? (controllers ?? []) : (controllers ?? []).filter(isFailing);
}

function controllerRows(controllers: readonly ControllerStatus[], now: number): Row[] {
  return [
    ['  Name', 'Last success', 'Last error', 'Count', 'Message'],
    ...controllers.map((controller): Row => {
      const s = controller.status;
      return [
        `  ${controller.name ?? ''}`,
        sinceText(s?.['last-success-timestamp'], now) ?? 'never',
        sinceText(s?.['last-failure-timestamp'], now) ?? 'never',
        String(s?.['consecutive-failure-count'] ?? 0),
        isFailing(controller) ? styled('bad', s?.['last-failure-msg'] ?? '') : 'no error',
      ];
    }),
  ];
}

function proxyRows({ proxy }: StatusResponse): Row[] {
  if (proxy === undefined) return [];
  const ports = proxy['port-range'] === undefined ? '' : `, port-range ${proxy['port-range']}`;
  return [['Proxy Status:', `OK, ip ${proxy.ip ?? ''}, ${proxy['total-redirects'] ?? 0} redirects active${ports}`]];
}

function identityRangeRows(status: StatusResponse): Row[] {
  const range = status['identity-range'];
  if (range === undefined) return [];
  return [['Global Identity Range:', `min ${range['min-identity'] ?? 0}, max ${range['max-identity'] ?? 0}`]];
}

function endpointRows({ endpoints }: StatusResponse): Row[] {
  if (endpoints === undefined) return [];
  const counts = Object.entries(endpoints).filter(([, count]) => count > 0);
  const total = counts.reduce((sum, [, count]) => sum + count, 0);
  const states = counts.map(([state, count]) => `${count} ${state}`).join(', ');
  return [['Endpoints:', total === 0 ? 'none' : `${total}: ${states}`]];
}

/** `1h2m3s ago`; undefined when it never was. */
export function sinceText(timestamp: string | undefined, now: number): string | undefined {
  const then = timestamp === undefined ? NaN : Date.parse(timestamp);
  // Go's zero time means never.
  if (Number.isNaN(then) || then < 0) return undefined;
  const seconds = Math.max(0, Math.floor((now - then) / 1000));
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return `${h > 0 ? `${h}h` : ''}${h > 0 || m > 0 ? `${m}m` : ''}${s}s ago`;
}
