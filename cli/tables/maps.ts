/** The kernel's other maps as cilium-dbg prints them. Pure. */
import type {
  AffinityMapFields,
  BackendMapFields,
  BandwidthMapFields,
  BPFMap,
  ConntrackMapFields,
  EndpointMapFields,
  IpcacheMapFields,
  MetricsMapFields,
  NatMapFields,
  ServiceMapFields,
  SourceRangeMapFields,
} from '../../agent/api/models.ts';
import { cidrContains, parseAddress, parseCidr, type Cidr } from '../../agent/model/address.ts';
import { protocolName } from '../../agent/model/port.ts';
import { formatQuantity } from '../../agent/model/quantity.ts';
import { styled, type Row } from '../output/table.ts';

export function ipcacheRows(entries: readonly IpcacheMapFields[]): Row[] {
  const rows = entries
    .toSorted((a, b) => compare(a.prefix, b.prefix))
    .map((entry): Row => [entry.prefix, ipcacheText(entry)]);
  return [['IP PREFIX/ADDRESS', 'IDENTITY'], ...rows];
}

function ipcacheText(entry: IpcacheMapFields): string {
  return `identity=${entry.identity} tunnelendpoint=${entry['tunnel-endpoint'] ?? '0.0.0.0'}`;
}

/** The entry with the longest prefix that covers `ip`, as the kernel looks it up. */
export function ipcacheLookup(entries: readonly IpcacheMapFields[], ip: string): IpcacheMapFields | undefined {
  const address = parseAddress(ip);
  let best: { readonly cidr: Cidr; readonly entry: IpcacheMapFields } | undefined;
  for (const entry of entries) {
    const cidr = parseCidr(entry.prefix);
    if (cidrContains(cidr, address) && (best === undefined || cidr.length > best.cidr.length)) best = { cidr, entry };
  }
  return best?.entry;
}

export function endpointMapRows(entries: readonly EndpointMapFields[]): Row[] {
  const rows = entries
    .toSorted((a, b) => a.id - b.id || compare(a.ip, b.ip))
    .map((entry): Row => [entry.ip, entry.host === true ? '(localhost)' : endpointText(entry)]);
  return [['IP ADDRESS', 'LOCAL ENDPOINT INFO'], ...rows];
}

function endpointText(entry: EndpointMapFields): string {
  return (
    `id=${entry.id} sec_id=${entry.identity} ifindex=${entry.ifindex} ` +
    `mac=${entry.mac.toUpperCase()} nodemac=${entry['host-mac'].toUpperCase()}`
  );
}

/** A row a slot: the frontend itself with its flags, then each of its backends. */
export function frontendRows(slots: readonly ServiceMapFields[], backends: readonly BackendMapFields[]): Row[] {
  const byId = new Map(backends.map((backend) => [backend.id, backend]));
  const rows = slots
    .toSorted((a, b) => compare(frontendName(a), frontendName(b)) || a.slot - b.slot)
    .map((fields): Row => {
      const { slot, id = 0, type = 'unknown', flags = '', backend } = fields;
      const name = `${frontendName(fields)} (${slot})`;
      if (backend !== undefined) return [name, `${backendText(byId.get(backend))} (${backend}) (${slot})`];
      const words = [type, ...(flags === '' ? [] : [flags])].join(', ');
      return [name, `${fields.count ?? 0} backends (${id}) (0) [${words}]`];
    });
  return [['SERVICE ADDRESS', 'BACKEND ADDRESS (REVNAT_ID) (SLOT)'], ...rows];
}

function frontendName({ frontend, scope }: ServiceMapFields): string {
  return `${frontend}${scope === 'external' ? '/e' : ''}`;
}

function backendText(backend: BackendMapFields | undefined): string {
  return backend === undefined ? 'gone' : `${backend.socket} ${backend.state}`;
}

export function backendRows(backends: readonly BackendMapFields[]): Row[] {
  const rows = backends
    .toSorted((a, b) => a.id - b.id)
    .map(({ id, socket, state }): Row => [String(id), socket, state]);
  return [['ID', 'BACKEND ADDRESS', 'STATE'], ...rows];
}

export function affinityRows(entries: readonly AffinityMapFields[]): Row[] {
  const rows = entries
    .toSorted((a, b) => a.service - b.service || compare(a.client, b.client))
    .map((entry): Row => [
      String(entry.service),
      entry.client,
      String(entry.backend),
      `${entry['used-seconds-ago']}s ago`,
    ]);
  return [['REVNAT_ID', 'CLIENT', 'BACKEND ID', 'LAST USED'], ...rows];
}

export function sourceRangeRows(entries: readonly SourceRangeMapFields[]): Row[] {
  const rows = entries
    .toSorted((a, b) => a.service - b.service || compare(a.range, b.range))
    .map(({ service, range }): Row => [String(service), range]);
  return [['REVNAT_ID', 'SOURCE RANGE'], ...rows];
}

/** As cilium-dbg has it, which calls the number of an endpoint its identity here. */
export function bandwidthRows(entries: readonly BandwidthMapFields[]): Row[] {
  const rows = entries
    .toSorted((a, b) => a.endpoint - b.endpoint || compare(a.direction, b.direction))
    .map((entry): Row => [
      String(entry.endpoint),
      entry.direction === 'egress' ? 'Egress' : 'Ingress',
      formatQuantity(entry['bits-per-second']),
      String(entry['burst-bytes']),
    ]);
  return [['IDENTITY', 'DIRECTION', 'BANDWIDTH (BitsPerSec)', 'BURST (Bytes)'], ...rows];
}

/** A line a connection; the side that opened it stands first. */
export function conntrackLines(entries: readonly ConntrackMapFields[]): string[] {
  return entries.map((entry) => {
    const local = socketText(entry.local, entry['local-port']);
    const remote = socketText(entry.remote, entry['remote-port']);
    const [way, from, to] = entry.direction === 'ingress' ? ['IN', remote, local] : ['OUT', local, remote];
    return [
      `${protocolName(entry.protocol)} ${way} ${from} -> ${to}`,
      `expires=${Math.round(entry['expires-in'])}`,
      `TxPackets=${entry['forward-packets']} TxBytes=${entry['forward-bytes']}`,
      `RxPackets=${entry['reply-packets']} RxBytes=${entry['reply-bytes']}`,
      `Flags=[ ${entry.flags === '' ? '' : `${entry.flags} `}]`,
      `PeerSecurityID=${entry['peer-identity']}`,
      ...(entry['proxy-port'] === 0 ? [] : [`ProxyPort=${entry['proxy-port']}`]),
    ].join(' ');
  });
}

/** Sorted, so that a connection's two sides of one kind stand together. */
export function natLines(entries: readonly NatMapFields[]): string[] {
  return entries
    .map((entry) => {
      const local = socketText(entry.local, entry['local-port']);
      const remote = socketText(entry.remote, entry['remote-port']);
      const out = entry.direction === 'out';
      const [way, from, to] = out ? ['OUT', local, remote] : ['IN', remote, local];
      return [
        `${protocolName(entry.protocol)} ${way} ${from} -> ${to}`,
        `XLATE_${out ? 'SRC' : 'DST'} ${socketText(entry.translated, entry['translated-port'])}`,
        ...(entry.service === 0 ? [] : [`Service=${entry.service}`]),
        ...(entry['expires-in'] === undefined ? [] : [`expires=${Math.round(entry['expires-in'])}`]),
      ].join(' ');
    })
    .sort();
}

function socketText(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

export function metricsRows(entries: readonly MetricsMapFields[]): Row[] {
  const rows = entries
    .toSorted((a, b) => compare(a.reason, b.reason) || compare(a.direction, b.direction))
    .map((entry): Row => {
      const reason = entry.reason === 'Success' ? entry.reason : styled('warn', entry.reason);
      return [reason, entry.direction.toUpperCase(), String(entry.packets), String(entry.bytes)];
    });
  return [['REASON', 'DIRECTION', 'PACKETS', 'BYTES'], ...rows];
}

export function mapListRows(maps: readonly BPFMap[]): Row[] {
  const rows = maps
    .toSorted((a, b) => compare(a.path ?? '', b.path ?? ''))
    .map((map): Row => {
      const cache = map.cache ?? [];
      const errors = cache.filter((entry) => (entry['last-error'] ?? '') !== '').length;
      return [mapName(map), String(cache.length), String(errors), String(map.cache !== undefined)];
    });
  return [['Name', 'Num entries', 'Num errors', 'Cache enabled'], ...rows];
}

export function mapEntryRows(map: BPFMap): Row[] {
  const rows = (map.cache ?? []).map((entry): Row => [
    entry.key ?? '',
    entry.value ?? '',
    entry['desired-action'] ?? '',
    entry['last-error'] ?? '',
  ]);
  return [['Key', 'Value', 'State', 'Error'], ...rows];
}

/** Last part of a map's path. */
export function mapName(map: BPFMap): string {
  return (map.path ?? '').split('/').at(-1)!;
}

const compare = (a: string, b: string): number => (a === b ? 0 : a < b ? -1 : 1);
