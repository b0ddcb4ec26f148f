import { AGGREGATE_LOW, AGGREGATE_MEDIUM, AGGREGATE_NONE } from '../../bpf/gen/constants.ts';
import { ConntrackGc } from '../datapath/conntrack-gc.ts';
import { requireSeparatePorts } from '../datapath/local-ports.ts';
import { KernelNode } from '../datapath/kernel-node.ts';
import { ipcacheEntryType } from '../datapath/maps/ipcache.ts';
import { socketCgroup } from '../datapath/socket-cgroup.ts';
import { EventLosses } from '../flow/event-losses.ts';
import { bootTime, EventReader } from '../flow/event-reader.ts';
import { probeFeatures, requireFeatures } from '../kernel/features.ts';
import type { Clock } from '../model/clock.ts';
import { WeirError } from '../model/errors.ts';
import type { ProgramSettings } from '../datapath/loader.ts';
import type { CollectionWatcher, EventSettings, KernelSettings, NodeKernel } from './node-kernel.ts';

const AGGREGATION = {
  none: AGGREGATE_NONE,
  low: AGGREGATE_LOW,
  medium: AGGREGATE_MEDIUM,
  maximum: AGGREGATE_MEDIUM,
} as const;

/** CLOCK_MONOTONIC in nanoseconds, as the kernel's programs have it: what Node's hrtime reads on Linux. */
const monotonic = (): bigint => process.hrtime.bigint();

/**
 * The kernel of this node: features asked for, maps, devices and programs of the node in place.
 *
 * @throws WeirError KERNEL_UNSUPPORTED, CONFIG_INVALID, BPF_LOAD_FAILED, BPF_MAP_FAILED, NETLINK_FAILED, SYSCALL_FAILED
 */
export async function openKernel(
  settings: KernelSettings,
  clock: Clock,
  onError: (message: string, error: unknown) => void,
): Promise<NodeKernel> {
  requireFeatures(probeFeatures());
  const { bpfRoot, bpfObjects, devices, mtu, warmPrograms, policyMapMax, routers, podCidrs, routing, hostFirewall } =
    settings;
  const cgroup = socketCgroup(settings.socketLb);
  const { maglevTableSize, externalClusterIp, rejectWithoutBackend } = settings.loadBalancing;
  const { masquerade } = settings;
  await using undo = new AsyncDisposableStack();
  const node = undo.use(
    await KernelNode.open({
      ...{ bpfRoot, objects: bpfObjects, devices, routers, podCidrs, routing, hostFirewall, monotonic, warmPrograms },
      sizes: { weir_policy: policyMapMax, weir_nat: masquerade.mapMax },
      onError: (error) => onError('programs cannot be loaded ahead', error),
      settings: {
        ...eventSettings(settings.events),
        denyResponse: settings.denyResponse,
        externalClusterIp: externalClusterIp ? 1 : 0,
        rejectWithoutBackend: rejectWithoutBackend ? 1 : 0,
        ...(maglevTableSize !== undefined && { maglevTableSize }),
        masqueradeIpv4: masquerade.ipv4 ? 1 : 0,
        masqueradeIpv6: masquerade.ipv6 ? 1 : 0,
      },
      nonMasquerade: masquerade.except,
      ...(mtu !== undefined && { mtu }),
      ...(cgroup !== undefined && { cgroup }),
    }),
  );
  const { revisions } = node.maps;
  // An agent that crashed may have left it on.
  revisions.setTraced(false);
  const events = undo.use(
    new EventReader(node.maps.get('weir_events').fd, bootTime(clock.now(), monotonic()), (wanted) =>
      revisions.setTraced(wanted),
    ),
  );
  let watcher: CollectionWatcher | undefined;
  const collector = new ConntrackGc({
    ...{ maps: [...node.maps.conntrack, node.maps.nat], clock, monotonic, intervalMs: settings.collectionMs },
    onBegin: (at) => watcher?.begin(at),
    onCollected: (_collection, at) => watcher?.end(at),
    onError: (error) => onError('expired connections cannot be collected', error),
  });
  complainOfPorts(onError);
  collector.start();
  undo.defer(() => collector.stop());
  const losses = new EventLosses(node.maps.get('weir_event_accounts'), clock, (missed) => events.miss(missed));
  undo.defer(() => losses.stop());
  const all = undo.move();
  return {
    endpoints: node.endpoints,
    ipcache: node.maps.ipcache,
    ipcacheType: ipcacheEntryType,
    services: node.maps.services,
    hostLink: node.hostLink,
    nodes: node.nodes,
    socketCgroup: cgroup,
    devices: node.network.devices.map(({ name }) => name),
    mtu: node.network.mtu,
    policyMapMax,
    masquerade,
    keepTranslations: (addresses) => node.maps.nat.keepAddresses(addresses),
    lockdowns: () => node.endpoints.lockdowns(),
    maps: () => node.catalogue.list(),
    dump: async (name) => ({ path: name, cache: await node.catalogue.dump(name) }),
    flush: (name) => flush(node, name),
    watchCollections: (wanted) => void (watcher = wanted),
    events: (capacity, types) => events.subscribe(capacity, types),
    leftOut: () => losses.totals,
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

function eventSettings({ drops, verdicts, traces, aggregation, flags, ...limits }: EventSettings): ProgramSettings {
  const { intervalMs, rate, burst } = limits;
  const cost = rate === 0 ? 0n : BigInt(Math.round(1e9 / rate));
  return {
    ...{ dropEvents: drops, verdictEvents: verdicts, traceEvents: traces },
    ...{ traceAggregation: AGGREGATION[aggregation], traceFlags: flags, traceInterval: intervalMs },
    ...{ eventCost: cost, eventBurst: cost * BigInt(burst) },
  };
}

/** Most nodes have the kernel's default, which is fine; the others work on, with answers that may be mixed up. */
function complainOfPorts(onError: (message: string, error: unknown) => void): void {
  try {
    requireSeparatePorts();
  } catch (error) {
    onError('connections under the address of the node may get in the way of its own', error);
  }
}

/** Only connections may be forgotten: what else maps hold, policy and delivery need. */
async function flush({ maps }: KernelNode, name: string): Promise<void> {
  const connections = { weir_ct4: maps.conntrack[0], weir_ct6: maps.conntrack[1], weir_nat: maps.nat };
  const map = Object.entries(connections).find(([known]) => known === name)?.[1];
  if (map === undefined) {
    throw new WeirError('REQUEST_INVALID', 'cannot be emptied', {
      object: `map ${name}`,
      remedy: `empty ${Object.keys(connections).join(', ')}`,
    });
  }
  await map.flush();
}
