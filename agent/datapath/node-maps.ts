import { unlinkSync } from 'node:fs';
import { MAPS, type MapName } from '../../bpf/gen/maps.ts';
import { BpfMap } from '../kernel/bpf-map.ts';
import { BandwidthMap } from './maps/bandwidth.ts';
import { CallMap } from './maps/callmap.ts';
import { ConntrackMap } from './maps/conntrack.ts';
import { IpcacheMap } from './maps/ipcache.ts';
import { LbMaps } from './maps/lb-maps.ts';
import { LxcMap } from './maps/lxc.ts';
import { NatMap } from './maps/nat.ts';
import { RevisionMap } from './maps/revision.ts';
import type { Pins } from './pins.ts';

/** Names of the maps that all programs of a node share. */
export const NODE_MAPS = (Object.keys(MAPS) as MapName[]).filter((name) => MAPS[name].pinned);

/** Entries, by map; the sizes of bpf/lib/maps.h where absent. */
export type MapSizes = Partial<Record<MapName, number>>;

/** The maps that all programs of a node share, found pinned or made. */
export class NodeMaps implements Disposable {
  readonly lxc: LxcMap;
  readonly ipcache: IpcacheMap;
  readonly call: CallMap;
  readonly revisions: RevisionMap;
  readonly bandwidth: BandwidthMap;
  readonly conntrack: readonly ConntrackMap[];
  readonly nat: NatMap;
  readonly services: LbMaps;
  readonly #maps: ReadonlyMap<MapName, BpfMap>;

  private constructor(maps: ReadonlyMap<MapName, BpfMap>) {
    this.#maps = maps;
    this.lxc = new LxcMap(this.get('weir_lxc'));
    this.call = new CallMap(this.get('weir_call_policy'));
    this.revisions = new RevisionMap(this.get('weir_revision'));
    this.bandwidth = new BandwidthMap(this.get('weir_bandwidth'), this.revisions);
    this.ipcache = new IpcacheMap(this.get('weir_ipcache'), () => this.revisions.raiseNode());
    this.conntrack = [new ConntrackMap(4, this.get('weir_ct4')), new ConntrackMap(6, this.get('weir_ct6'))];
    this.nat = new NatMap(this.get('weir_nat'));
    this.services = new LbMaps({
      services: this.get('weir_lb_services'),
      backends: this.get('weir_lb_backends'),
      revnat: this.get('weir_lb_revnat'),
      flows: this.get('weir_lb_flows'),
      members: this.get('weir_lb_members'),
      sourceRanges: this.get('weir_lb_source_ranges'),
      maglev: this.get('weir_lb_maglev'),
      conntrack: this.conntrack,
    });
  }

  /**
   * Opens each map at its pin, or creates and pins it. A pinned map of another layout, left by another version, is
   * replaced: programs keep the old one until they are loaded again.
   *
   * @throws KernelError BPF_MAP_FAILED, SYSCALL_FAILED
   */
  static open(pins: Pins, sizes: MapSizes = {}): NodeMaps {
    using undo = new DisposableStack();
    const maps = new Map<MapName, BpfMap>();
    for (const name of NODE_MAPS) maps.set(name, undo.use(openOrCreate(name, pins.map(name), sizes[name])));
    const all = new NodeMaps(maps);
    undo.move();
    return all;
  }

  get(name: MapName): BpfMap {
    return this.#maps.get(name)!;
  }

  [Symbol.dispose](): void {
    for (const map of this.#maps.values()) map.close();
  }
}

/** Opens the map pinned at `pin` if its layout is that of `name`; else creates one and pins it there. */
export function openOrCreate(name: MapName, pin: string, maxEntries: number = MAPS[name].maxEntries): BpfMap {
  const spec = MAPS[name];
  const pinned = BpfMap.openPinned(pin);
  if (pinned !== undefined) {
    const { type, keySize, valueSize, flags } = pinned.info;
    if (type === spec.type && keySize === spec.keySize && valueSize === spec.valueSize && flags === spec.flags) {
      return pinned;
    }
    pinned.close();
    unlinkSync(pin);
  }
  const map = BpfMap.create({ ...spec, maxEntries });
  try {
    map.pin(pin);
    return map;
  } catch (error) {
    map.close();
    throw error;
  }
}
