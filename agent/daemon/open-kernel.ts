import { ConntrackGc } from '../datapath/conntrack-gc.ts';
import { KernelNode } from '../datapath/kernel-node.ts';
import { ipcacheEntryType } from '../datapath/maps/ipcache.ts';
import { bootTime, EventReader } from '../flow/event-reader.ts';
import { probeFeatures, requireFeatures } from '../kernel/features.ts';
import type { Clock } from '../model/clock.ts';
import { WeirError } from '../model/errors.ts';
import type { KernelSettings, NodeKernel } from './node-kernel.ts';

/** How often expired connections are collected, in milliseconds. */
const COLLECTION_MS = 30_000;

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
  const { bpfRoot, bpfObjects, devices, mtu, routers, podCidrs } = settings;
  await using undo = new AsyncDisposableStack();
  const node = undo.use(
    await KernelNode.open({
      ...{ bpfRoot, objects: bpfObjects, devices, routers, podCidrs, monotonic },
      ...(mtu !== undefined && { mtu }),
    }),
  );
  const events = undo.use(new EventReader(node.maps.get('weir_events').fd, bootTime(clock.now(), monotonic())));
  const collector = new ConntrackGc({
    ...{ maps: node.maps.conntrack, clock, monotonic, intervalMs: COLLECTION_MS },
    onError: (error) => onError('expired connections cannot be collected', error),
  });
  collector.start();
  undo.defer(() => collector.stop());
  const all = undo.move();
  return {
    endpoints: node.endpoints,
    ipcache: node.maps.ipcache,
    ipcacheType: ipcacheEntryType,
    devices: node.network.devices.map(({ name }) => name),
    mtu: node.network.mtu,
    lockdowns: () => node.endpoints.lockdowns(),
    maps: () => node.catalogue.list(),
    dump: async (name) => ({ path: name, cache: await node.catalogue.dump(name) }),
    flush: (name) => flush(node, name),
    events: (capacity) => events.subscribe(capacity),
    lostEvents: () => 0,
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

/** Only connections may be forgotten: what else maps hold, policy and delivery need. */
async function flush({ maps }: KernelNode, name: string): Promise<void> {
  const index = ['weir_ct4', 'weir_ct6'].indexOf(name);
  const conntrack = maps.conntrack[index];
  if (conntrack !== undefined) {
    await conntrack.flush();
    return;
  }
  throw new WeirError('REQUEST_INVALID', 'cannot be emptied', {
    object: `map ${name}`,
    remedy: 'empty weir_ct4 or weir_ct6',
  });
}
