import { WeirError } from '../../model/errors.ts';
import { MAPS, type MapName } from '../../../bpf/gen/maps.ts';
import { BpfMap } from '../../kernel/bpf-map.ts';
import { describeBandwidth } from './bandwidth.ts';
import { describeCallEntry } from './callmap.ts';
import { describeConnection } from './conntrack.ts';
import type { DescribeEntry, DumpedEntry } from './dump.ts';
import { describeIpcacheEntry } from './ipcache.ts';
import {
  describeLbAffinity,
  describeLbAsked,
  describeLbBackend,
  describeLbFlow,
  describeLbService,
  describeLbSocket,
  describeLbSourceRange,
} from './lb.ts';
import { describeLxcEntry } from './lxc.ts';
import { describeMetric } from './metrics.ts';
import { describeNat } from './nat.ts';
import { describeNodeConfigEntry } from './nodeconfig.ts';
import { describeNonMasquerade } from './non-masquerade.ts';
import { describePolicyEntry } from './policymap.ts';
import { describePolicyStats } from './policystats.ts';
import { describeNodeEntry, describeTunnelEntry } from './remote-nodes.ts';
import { describeRevisionEntry } from './revision.ts';

/** A map that can be listed. */
export interface ListedMap {
  readonly name: string;
  readonly path: string;
  /** Entries that it can hold. */
  readonly size: number;
}

/** Where the maps are pinned, and for which endpoints. */
export interface PinnedMaps {
  map(name: string): string;
  endpoints(): readonly number[];
}

/** An all-zero entry of these array maps says nothing: it is left out of dumps. */
const SPARSE: ReadonlySet<string> = new Set<MapName>(['weir_metrics', 'weir_revision', 'weir_lb_revnat']);

const POLICY_MAP = /^weir_policy_[1-9]\d{0,4}$/;

/** Maps by name, for people: which there are, and what they hold. */
export class MapCatalogue {
  readonly #pins: PinnedMaps;
  readonly #describe: Readonly<Partial<Record<string, DescribeEntry>>>;

  /** @param monotonic nanoseconds of CLOCK_MONOTONIC now */
  constructor(pins: PinnedMaps, monotonic: () => bigint) {
    this.#pins = pins;
    this.#describe = {
      weir_lxc: describeLxcEntry,
      weir_ipcache: describeIpcacheEntry,
      weir_tunnel: describeTunnelEntry,
      weir_nodes: describeNodeEntry,
      weir_call_policy: describeCallEntry,
      weir_ct4: describeConnection(4, monotonic),
      weir_ct6: describeConnection(6, monotonic),
      weir_nat: describeNat(monotonic),
      weir_non_masquerade: describeNonMasquerade,
      weir_metrics: describeMetric,
      weir_policystats: describePolicyStats,
      weir_node_config: describeNodeConfigEntry,
      weir_revision: describeRevisionEntry,
      weir_bandwidth: describeBandwidth,
      weir_lb_services: describeLbService,
      weir_lb_backends: describeLbBackend,
      weir_lb_revnat: describeLbSocket,
      weir_lb_flows: describeLbFlow,
      weir_lb_asked: describeLbAsked,
      weir_lb_affinity: describeLbAffinity(monotonic),
      weir_lb_source_ranges: describeLbSourceRange,
    };
  }

  list(): readonly ListedMap[] {
    const shared = Object.keys(this.#describe) as MapName[];
    const policies = this.#pins.endpoints().map((id) => `weir_policy_${id}`);
    return [
      ...shared.map((name) => this.#listed(name, MAPS[name].maxEntries)),
      ...policies.map((name) => this.#listed(name, MAPS.weir_policy.maxEntries)),
    ];
  }

  /** @throws WeirError MAP_NOT_FOUND, BPF_MAP_FAILED */
  async dump(name: string): Promise<readonly DumpedEntry[]> {
    const describe = POLICY_MAP.test(name) ? describePolicyEntry : this.#describe[name];
    if (describe === undefined) throw notFound(name);
    using map = this.#open(name);
    const entries: DumpedEntry[] = [];
    for await (const { key, value } of map.entries()) {
      if (SPARSE.has(name) && value.every((byte) => byte === 0)) continue;
      entries.push(describe(key, value));
    }
    return entries;
  }

  #open(name: string): BpfMap {
    const map = BpfMap.openPinned(this.#pins.map(name), name);
    if (map === undefined) throw notFound(name);
    return map;
  }

  #listed(name: string, size: number): ListedMap {
    using map = BpfMap.openPinned(this.#pins.map(name), name);
    return { name, path: this.#pins.map(name), size: map?.maxEntries ?? size };
  }
}

function notFound(name: string): WeirError {
  return new WeirError('MAP_NOT_FOUND', `there is no map ${JSON.stringify(name)}`, { object: `map ${name}` });
}
