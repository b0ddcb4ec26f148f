import type { EndpointId } from '../../model/endpoint.ts';
import { decode, encode, u32 } from '../../../bpf/gen/structs.ts';
import type { MapHandle } from '../../kernel/bpf-map.ts';
import type { DescribeEntry } from './dump.ts';

export const describeCallEntry: DescribeEntry = (keyBytes, valueBytes) => {
  const [id, program] = [decode(u32, keyBytes), decode(u32, valueBytes)];
  return { key: String(id), value: `program id=${program}`, fields: { endpoint: id, program } };
};

/**
 * `weir_call_policy`: endpoint → the program that judges what others send it. Without an entry nobody can reach the
 * endpoint: the tail call fails, and the packet is dropped. Not so for the node: without a host firewall it has no entry.
 */
export class CallMap {
  readonly #map: MapHandle;

  constructor(map: MapHandle) {
    this.#map = map;
  }

  /** Atomic: a packet meets the program before or this one. */
  set(id: EndpointId, programFd: number): void {
    this.#map.update(encode(u32, id), encode(u32, programFd));
  }

  delete(id: EndpointId): void {
    this.#map.delete(encode(u32, id));
  }

  has(id: EndpointId): boolean {
    return this.#map.lookup(encode(u32, id)) !== undefined;
  }
}
