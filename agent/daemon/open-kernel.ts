import { ConntrackGc } from '../datapath/conntrack-gc.ts';
import { KernelNode } from '../datapath/kernel-node.ts';
import { ipcacheEntryType } from '../datapath/maps/ipcache.ts';
import { socketCgroup } from '../datapath/socket-cgroup.ts';
import { readMetrics } from '../datapath/maps/metrics.ts';
import { DROP_RATE_LIMITED_EVENT } from '../../bpf/gen/drops.ts';
import { bootTime, EventReader } from '../flow/event-reader.ts';
import { probeFeatures, requireFeatures } from '../kernel/features.ts';
import type { Clock } from '../model/clock.ts';
import { WeirError } from '../model/errors.ts';
import type { CollectionWatcher, KernelSettings, NodeKernel } from './node-kernel.ts';

/** How often it is asked how many events were lost, in milliseconds. */
const LOSSES_MS = 1_000;

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
  await using undo = new AsyncDisposableStack();
  const node = undo.use(
    await KernelNode.open({
      ...{ bpfRoot, objects: bpfObjects, devices, routers, podCidrs, routing, hostFirewall, monotonic, warmPrograms },
      sizes: { weir_policy: policyMapMax },
      onError: (error) => onError('programs cannot be loaded ahead', error),
      settings: {
        denyResponse: settings.denyResponse,
        externalClusterIp: externalClusterIp ? 1 : 0,
        rejectWithoutBackend: rejectWithoutBackend ? 1 : 0,
        ...(maglevTableSize !== undefined && { maglevTableSize }),
      },
      ...(mtu !== undefined && { mtu }),
      ...(cgroup !== undefined && { cgroup }),
    }),
  );
  const events = undo.use(new EventReader(node.maps.get('weir_events').fd, bootTime(clock.now(), monotonic())));
  let watcher: CollectionWatcher | undefined;
  const collector = new ConntrackGc({
    ...{ maps: node.maps.conntrack, clock, monotonic, intervalMs: settings.collectionMs },
    onBegin: (at) => watcher?.begin(at),
    onCollected: (_collection, at) => watcher?.end(at),
    onError: (error) => onError('expired connections cannot be collected', error),
  });
  collector.start();
  undo.defer(() => collector.stop());
  const losses = new EventLosses(node, clock, (count) => events.miss(count));
  await losses.start();
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
    lockdowns: () => node.endpoints.lockdowns(),
    maps: () => node.catalogue.list(),
    dump: async (name) => ({ path: name, cache: await node.catalogue.dump(name) }),
    flush: (name) => flush(node, name),
    watchCollections: (wanted) => void (watcher = wanted),
    events: (capacity, wants) => events.subscribe(capacity, wants),
    lostEvents: () => losses.total,
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

/** Events that did not fit the ring buffer: the kernel counts them among its drop reasons. */
class EventLosses {
  readonly #node: KernelNode;
  readonly #clock: Clock;
  readonly #onLost: (count: number) => void;
  #base = 0n;
  #seen = 0n;
  #cancel: (() => void) | undefined;

  constructor(node: KernelNode, clock: Clock, onLost: (count: number) => void) {
    this.#node = node;
    this.#clock = clock;
    this.#onLost = onLost;
  }

  /** Lost since the start. */
  get total(): number {
    return Number(this.#seen - this.#base);
  }

  async start(): Promise<void> {
    this.#base = this.#seen = await this.#count();
    this.#schedule();
  }

  stop(): void {
    this.#cancel?.();
  }

  #schedule(): void {
    this.#cancel = this.#clock.after(LOSSES_MS, () => {
      this.#look().then(
        () => this.#schedule(),
        // The counters are for people: another look may succeed.
        () => this.#schedule(),
      );
    });
  }

  async #look(): Promise<void> {
    const now = await this.#count();
    if (now > this.#seen) this.#onLost(Number(now - this.#seen));
    this.#seen = now;
  }

  async #count(): Promise<bigint> {
    const counts = await readMetrics(this.#node.maps.get('weir_metrics'));
    return counts
      .filter(({ reason }) => reason === DROP_RATE_LIMITED_EVENT)
      .reduce((sum, { packets }) => sum + packets, 0n);
  }
}
