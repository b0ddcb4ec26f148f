import { Command } from 'commander';
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
  TunnelMapFields,
} from '../../agent/api/models.ts';
import { withOutput, type Context, type Runner } from '../context.ts';
import { EXIT } from '../fault.ts';
import {
  affinityRows,
  backendRows,
  bandwidthRows,
  conntrackLines,
  endpointMapRows,
  frontendRows,
  ipcacheLookup,
  ipcacheRows,
  mapEntryRows,
  mapListRows,
  mapName,
  metricsRows,
  natLines,
  sourceRangeRows,
} from '../tables/maps.ts';
import { tunnelRows } from '../tables/node.ts';
import { bpfPolicyCommand } from './bpf-policy.ts';
import { dumpMap } from './map-dump.ts';

const CONNTRACK_MAPS = ['weir_ct4', 'weir_ct6'] as const;

/** `weir bpf …` */
export function bpfCommand(runner: Runner): Command {
  return new Command('bpf')
    .description("look at what the kernel enforces: the datapath's maps, decoded")
    .addCommand(bpfPolicyCommand(runner))
    .addCommand(ipcacheCommand(runner))
    .addCommand(tunnelCommand(runner))
    .addCommand(conntrackCommand(runner))
    .addCommand(natCommand(runner))
    .addCommand(endpointMapCommand(runner))
    .addCommand(servicesCommand(runner))
    .addCommand(bandwidthCommand(runner))
    .addCommand(metricsCommand(runner));
}

function ipcacheCommand(runner: Runner): Command {
  const list = withOutput(new Command('list')).alias('ls').description('list prefixes and their identities');
  const get = withOutput(new Command('get'))
    .description('find the entry that the kernel uses for an address')
    .argument('<ip>', 'address');
  return new Command('ipcache')
    .description('which identity an address has')
    .addCommand(
      runner.action(list, async (context) => {
        const entries = await dumpMap<IpcacheMapFields>(context, 'weir_ipcache');
        await context.printTable(entries, () => ipcacheRows(entries));
      }),
    )
    .addCommand(
      runner.action(get, async (context, [ip]) => {
        const entry = ipcacheLookup(await dumpMap<IpcacheMapFields>(context, 'weir_ipcache'), ip!);
        if (entry === undefined) {
          context.warn(`${ip!} does not map to any identity`);
          context.exitCode = EXIT.failed;
        } else await context.print(entry, () => `${ip!} maps to identity ${entry.identity} (${entry.prefix})\n`);
      }),
    );
}

function tunnelCommand(runner: Runner): Command {
  const list = withOutput(new Command('list'))
    .alias('ls')
    .description('list prefixes of pods and the nodes that have them');
  return new Command('tunnel').description('to which node packets for pods are sent').addCommand(
    runner.action(list, async (context) => {
      const entries = await dumpMap<TunnelMapFields>(context, 'weir_tunnel');
      await context.printTable(entries, () => tunnelRows(entries));
    }),
  );
}

function conntrackCommand(runner: Runner): Command {
  const endpoint = 'only connections of this endpoint; all when absent or "global"';
  const list = withOutput(new Command('list'))
    .alias('ls')
    .description('list connections, the side that opened them first')
    .argument('[endpoint]', endpoint);
  const flush = new Command('flush').description(
    'forget all connections; those still alive are judged afresh by their next packet',
  );
  return new Command('ct')
    .description('connection tracking')
    .addCommand(runner.action(list, listConnections))
    .addCommand(
      runner.action(flush, async (context) => {
        for (const map of CONNTRACK_MAPS) await context.client.flushMap(map);
        await context.write('Flushed all connection tracking entries\n');
      }),
    );
}

async function listConnections(context: Context, [endpoint]: readonly string[]): Promise<void> {
  const all: ConntrackMapFields[] = [];
  for (const map of CONNTRACK_MAPS) all.push(...(await dumpMap<ConntrackMapFields>(context, map)));
  const own = endpoint === undefined || endpoint === 'global' ? undefined : await endpointAddresses(context, endpoint);
  const entries = own === undefined ? all : all.filter((entry) => own.has(entry.local));
  await context.print(entries, () => {
    const lines = conntrackLines(entries);
    return lines.length === 0 ? '' : `${lines.join('\n')}\n`;
  });
}

function natCommand(runner: Runner): Command {
  const list = withOutput(new Command('list'))
    .alias('ls')
    .description('list connections that go on under an address of the node: what leaves, and what answers look like');
  const flush = new Command('flush').description(
    'forget all of them; to their servers, those still alive begin anew from another port',
  );
  return new Command('nat')
    .description('translation to addresses of the node')
    .addCommand(
      runner.action(list, async (context) => {
        const entries = await dumpMap<NatMapFields>(context, 'weir_nat');
        await context.print(entries, () =>
          natLines(entries)
            .map((line) => `${line}\n`)
            .join(''),
        );
      }),
    )
    .addCommand(
      runner.action(flush, async (context) => {
        await context.client.flushMap('weir_nat');
        await context.write('Flushed all NAT entries\n');
      }),
    );
}

/** Addresses of an endpoint, as text. */
export async function endpointAddresses(context: Context, id: string): Promise<ReadonlySet<string>> {
  const endpoint = await context.client.endpoint(id);
  const pairs = endpoint.status?.networking?.addressing ?? [];
  return new Set(pairs.flatMap(({ ipv4 = '', ipv6 = '' }) => [ipv4, ipv6].filter((ip) => ip !== '')));
}

function endpointMapCommand(runner: Runner): Command {
  const list = withOutput(new Command('list')).alias('ls').description('list local endpoint entries');
  return new Command('endpoint').description('local endpoints by address').addCommand(
    runner.action(list, async (context) => {
      const entries = await dumpMap<EndpointMapFields>(context, 'weir_lxc');
      await context.printTable(entries, () => endpointMapRows(entries));
    }),
  );
}

interface ServicesOptions {
  readonly backends?: true;
  readonly affinity?: true;
  readonly sourceRanges?: true;
}

function servicesCommand(runner: Runner): Command {
  const list = withOutput(new Command('list'))
    .alias('ls')
    .description('list frontends and the backends they lead to')
    .option('--backends', 'backends by number')
    .option('--affinity', 'which client had which backend')
    .option('--source-ranges', 'who may use the addresses of load balancers');
  return new Command('lb')
    .description('services, as the kernel translates them')
    .addCommand(runner.action<ServicesOptions>(list, listServiceMaps));
}

async function listServiceMaps(context: Context, _words: readonly string[], options: ServicesOptions): Promise<void> {
  if (options.affinity === true) {
    const entries = await dumpMap<AffinityMapFields>(context, 'weir_lb_affinity');
    await context.printTable(entries, () => affinityRows(entries));
    return;
  }
  if (options.sourceRanges === true) {
    const entries = await dumpMap<SourceRangeMapFields>(context, 'weir_lb_source_ranges');
    await context.printTable(entries, () => sourceRangeRows(entries));
    return;
  }
  const backends = await dumpMap<BackendMapFields>(context, 'weir_lb_backends');
  if (options.backends === true) {
    await context.printTable(backends, () => backendRows(backends));
    return;
  }
  const services = await dumpMap<ServiceMapFields>(context, 'weir_lb_services');
  await context.printTable(services, () => frontendRows(services, backends));
}

function bandwidthCommand(runner: Runner): Command {
  const list = withOutput(new Command('list')).alias('ls').description('list the limits of endpoints');
  return new Command('bandwidth').description('how much endpoints may send and be sent').addCommand(
    runner.action(list, async (context) => {
      const entries = await dumpMap<BandwidthMapFields>(context, 'weir_bandwidth');
      await context.printTable(entries, () => bandwidthRows(entries));
    }),
  );
}

function metricsCommand(runner: Runner): Command {
  const list = withOutput(new Command('list'))
    .alias('ls')
    .description('list counters of forwarded and dropped packets');
  return new Command('metrics').description('traffic counters').addCommand(
    runner.action(list, async (context) => {
      const entries = await dumpMap<MetricsMapFields>(context, 'weir_metrics');
      await context.printTable(entries, () => metricsRows(entries));
    }),
  );
}

/** `weir map …` */
export function mapCommand(runner: Runner): Command {
  const list = withOutput(new Command('list'))
    .alias('ls')
    .description('list the maps that the agent keeps')
    .option('-v, --verbose', 'with their entries');
  const get = withOutput(new Command('get'))
    .description('show the entries of a map')
    .argument('<name>', 'name of the map');
  return new Command('map')
    .description('look at any map of the datapath')
    .addCommand(runner.action<{ verbose?: true }>(list, listMaps))
    .addCommand(
      runner.action(get, async (context, [name]) => {
        const map = await context.client.map(name!);
        await context.printTable(map, () => mapEntryRows(map));
      }),
    );
}

async function listMaps(context: Context, _words: readonly string[], options: { verbose?: true }): Promise<void> {
  const list = await context.client.maps();
  const maps = list.maps ?? [];
  await context.print(list, async () => {
    if (options.verbose !== true) return context.table(mapListRows(maps));
    // The list may name maps without what they hold.
    const dump = async (map: BPFMap): Promise<BPFMap> =>
      map.cache === undefined ? context.client.map(mapName(map)) : map;
    const dumps = await Promise.all(maps.map(dump));
    return dumps.map((map) => `## Map: ${mapName(map)}\n${context.table(mapEntryRows(map))}\n`).join('');
  });
}
