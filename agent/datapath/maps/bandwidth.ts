import { BANDWIDTH_DIRECTIONS, burstBytes, type BandwidthLimit, type BandwidthLimits } from '../../model/bandwidth.ts';
import { endpointId, type EndpointId } from '../../model/endpoint.ts';
import { formatQuantity } from '../../model/quantity.ts';
import { DIRECTION_EGRESS, DIRECTION_INGRESS } from '../../../bpf/gen/constants.ts';
import { bandwidth, bandwidthKey, decode, encode, type Bandwidth } from '../../../bpf/gen/structs.ts';
import type { MapHandle } from '../../kernel/bpf-map.ts';
import type { DescribeEntry } from './dump.ts';
import type { RevisionMap } from './revision.ts';

type Direction = (typeof BANDWIDTH_DIRECTIONS)[number];

const NUMBERS = { ingress: DIRECTION_INGRESS, egress: DIRECTION_EGRESS } as const;

function encodeBandwidthKey(endpoint: EndpointId, direction: Direction): Uint8Array {
  return encode(bandwidthKey, { endpoint, direction: NUMBERS[direction] });
}

function limitOf({ rate, depth }: Bandwidth): BandwidthLimit {
  return { rate: Number(rate), depth: Number(depth) };
}

export const describeBandwidth: DescribeEntry = (keyBytes, valueBytes) => {
  const key = decode(bandwidthKey, keyBytes);
  const limit = limitOf(decode(bandwidth, valueBytes));
  const direction = key.direction === DIRECTION_EGRESS ? 'egress' : 'ingress';
  const bits = limit.rate * 8;
  return {
    key: `endpoint ${key.endpoint} ${direction}`,
    value: `rate=${formatQuantity(bits)} burst=${burstBytes(limit)}`,
    fields: { endpoint: key.endpoint, direction, 'bits-per-second': bits, 'burst-bytes': burstBytes(limit) },
  };
};

/**
 * `weir_bandwidth`: how much endpoints may send and be sent. An endpoint's state says in which directions programs have to
 * look here; it is set after the entry is there, and cleared before the entry goes.
 */
export class BandwidthMap {
  readonly #map: MapHandle;
  readonly #revisions: RevisionMap;

  constructor(map: MapHandle, revisions: RevisionMap) {
    this.#map = map;
    this.#revisions = revisions;
  }

  /** The limits in force. */
  get(id: EndpointId): BandwidthLimits {
    return Object.fromEntries(
      BANDWIDTH_DIRECTIONS.flatMap((direction) => {
        const held = this.#held(id, direction);
        return held === undefined ? [] : [[direction, limitOf(held)]];
      }),
    );
  }

  /** From the next packet on. What has passed so far stays paid for: a new limit is no new burst. */
  set(id: EndpointId, limits: BandwidthLimits): void {
    for (const direction of BANDWIDTH_DIRECTIONS) {
      const limit = limits[direction];
      if (limit === undefined) continue;
      const paidUntil = this.#held(id, direction)?.paidUntil ?? 0n;
      const value = { rate: BigInt(limit.rate), depth: BigInt(limit.depth), paidUntil };
      this.#map.update(encodeBandwidthKey(id, direction), encode(bandwidth, value));
    }
    const { ingress, egress } = limits;
    this.#revisions.setLimited(id, { ingress: ingress !== undefined, egress: egress !== undefined });
    for (const direction of BANDWIDTH_DIRECTIONS) {
      if (limits[direction] === undefined) this.#map.delete(encodeBandwidthKey(id, direction));
    }
  }

  /** Lifts the limits of endpoints for which `keep` says no. */
  async prune(keep: (id: EndpointId) => boolean): Promise<void> {
    const limited = await Array.fromAsync(this.#map.entries(), ({ key }) => decode(bandwidthKey, key).endpoint);
    for (const id of new Set(limited.map(endpointId))) if (!keep(id)) this.set(id, {});
  }

  #held(id: EndpointId, direction: Direction): Bandwidth | undefined {
    const bytes = this.#map.lookup(encodeBandwidthKey(id, direction));
    return bytes && decode(bandwidth, bytes);
  }
}
