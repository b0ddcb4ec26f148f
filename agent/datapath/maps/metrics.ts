import { METRICS_DIRECTION_SHIFT, METRICS_EGRESS, METRICS_INGRESS } from '../../../bpf/gen/constants.ts';
import { DROP_REASONS } from '../../../bpf/gen/drops.ts';
import { decode, traffic, u32 } from '../../../bpf/gen/structs.ts';
import type { MapHandle } from '../../kernel/bpf-map.ts';
import type { DescribeEntry } from './dump.ts';

/** What the datapath counted under one reason and direction. */
export interface TrafficCount {
  /** 0 is forwarded; else a drop reason's number. */
  readonly reason: number;
  readonly reasonText: string;
  readonly direction: 'ingress' | 'egress' | 'unknown';
  readonly packets: bigint;
  readonly bytes: bigint;
}

/** The sum over all CPUs of a per-CPU value. */
export function sumTraffic(perCpu: Uint8Array): { readonly packets: bigint; readonly bytes: bigint } {
  let [packets, bytes] = [0n, 0n];
  for (let at = 0; at + traffic.size <= perCpu.length; at += traffic.size) {
    const one = decode(traffic, perCpu.subarray(at));
    packets += one.packets;
    bytes += one.bytes;
  }
  return { packets, bytes };
}

/** What a drop reason's number means, as Cilium's clients print it. */
export function dropReasonText(reason: number): string {
  return reason === 0 ? 'Success' : (DROP_REASONS.get(reason)?.text ?? `Unknown reason ${reason}`);
}

export function decodeMetric(key: Uint8Array, perCpu: Uint8Array): TrafficCount {
  const index = decode(u32, key);
  const reason = index & ((1 << METRICS_DIRECTION_SHIFT) - 1);
  const way = index >> METRICS_DIRECTION_SHIFT;
  return {
    reason,
    reasonText: dropReasonText(reason),
    direction: way === METRICS_INGRESS ? 'ingress' : way === METRICS_EGRESS ? 'egress' : 'unknown',
    ...sumTraffic(perCpu),
  };
}

export const describeMetric: DescribeEntry = (key, value) => {
  const { reason, reasonText, direction, packets, bytes } = decodeMetric(key, value);
  return {
    key: `reason:${reason} dir:${direction}`,
    value: `count:${packets} bytes:${bytes}`,
    fields: { reason: reasonText, direction, packets: Number(packets), bytes: Number(bytes) },
  };
};

/** All counters of `weir_metrics` that are not zero. Nearly all are, and this is asked for every second: decode no zeros. */
export async function readMetrics(map: MapHandle): Promise<readonly TrafficCount[]> {
  const counts: TrafficCount[] = [];
  const zero = Buffer.alloc(map.valueSize);
  for await (const { key, value } of map.entries()) if (!zero.equals(value)) counts.push(decodeMetric(key, value));
  return counts;
}
