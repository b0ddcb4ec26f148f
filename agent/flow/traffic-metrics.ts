import { METRICS_DIRECTION_SHIFT, METRICS_EGRESS, METRICS_INGRESS } from '../../bpf/gen/constants.ts';
import { decode, traffic, u32 } from '../../bpf/gen/structs.ts';
import type { MapHandle } from '../kernel/bpf-map.ts';
import { reasonText } from './event.ts';

/** One sample of a Prometheus counter, by the names that Cilium gives them, less their `cilium_` prefix. */
export interface TrafficSample {
  readonly name: 'drop_count_total' | 'drop_bytes_total' | 'forward_count_total' | 'forward_bytes_total';
  readonly labels: Readonly<Record<'direction' | 'reason', string>> | Readonly<Record<'direction', string>>;
  readonly value: number;
}

export const TRAFFIC_METRICS: Readonly<Record<TrafficSample['name'], string>> = {
  drop_count_total: 'Total dropped packets, tagged by drop reason and ingress/egress direction',
  drop_bytes_total: 'Total dropped bytes, tagged by drop reason and ingress/egress direction',
  forward_count_total: 'Total forwarded packets, tagged by ingress/egress direction',
  forward_bytes_total: 'Total forwarded bytes, tagged by ingress/egress direction',
};

/** The counters of `weir_metrics`, summed over CPUs; those that never counted are left out. */
export async function readTraffic(map: MapHandle): Promise<readonly TrafficSample[]> {
  const samples: TrafficSample[] = [];
  for await (const { key, value } of map.entries()) {
    const { packets, bytes } = sum(value);
    if (packets === 0) continue;
    const index = decode(u32, key);
    const reason = index & ((1 << METRICS_DIRECTION_SHIFT) - 1);
    const direction = directionName(index >> METRICS_DIRECTION_SHIFT);
    if (reason === 0) {
      samples.push({ name: 'forward_count_total', labels: { direction }, value: packets });
      samples.push({ name: 'forward_bytes_total', labels: { direction }, value: bytes });
    } else {
      const labels = { direction, reason: reasonText(reason) };
      samples.push({ name: 'drop_count_total', labels, value: packets });
      samples.push({ name: 'drop_bytes_total', labels, value: bytes });
    }
  }
  return samples;
}

function directionName(direction: number): string {
  if (direction === METRICS_INGRESS) return 'INGRESS';
  return direction === METRICS_EGRESS ? 'EGRESS' : 'UNKNOWN';
}

/** Sum of a per-CPU value; exact up to 2^53. */
function sum(perCpu: Uint8Array): { packets: number; bytes: number } {
  const total = { packets: 0, bytes: 0 };
  for (let at = 0; at + traffic.size <= perCpu.length; at += traffic.size) {
    const one = decode(traffic, perCpu.subarray(at));
    total.packets += Number(one.packets);
    total.bytes += Number(one.bytes);
  }
  return total;
}
