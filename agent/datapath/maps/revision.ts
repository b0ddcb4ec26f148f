import type { EndpointId } from '../../model/endpoint.ts';
import {
  STATE_EGRESS_LIMITED,
  STATE_INGRESS_LIMITED,
  STATE_LOCKDOWN,
  STATE_TRACED,
} from '../../../bpf/gen/constants.ts';
import { decode, encode, endpointState, u32, type EndpointState } from '../../../bpf/gen/structs.ts';
import type { MapHandle } from '../../kernel/bpf-map.ts';
import type { DescribeEntry } from './dump.ts';

/** Index of the node's own revision, which counts for every endpoint. */
const NODE = 0;

const LIMITED = STATE_INGRESS_LIMITED | STATE_EGRESS_LIMITED;

export const describeRevisionEntry: DescribeEntry = (keyBytes, valueBytes) => {
  const id = decode(u32, keyBytes);
  const { revision, flags } = decode(endpointState, valueBytes);
  const lockdown = (flags & STATE_LOCKDOWN) !== 0;
  const limited = (flags & LIMITED) !== 0;
  return {
    key: id === NODE ? 'node' : String(id),
    value: `revision=${revision}${lockdown ? ' lockdown' : ''}${limited ? ' limited' : ''}`,
    fields: { endpoint: id, revision: Number(revision), lockdown },
  };
};

/**
 * `weir_revision`: makes verdicts that conntrack entries remember stale. The agent is its only writer. A revision only
 * ever rises, also from one owner of an endpoint id to the next.
 */
export class RevisionMap {
  readonly #map: MapHandle;

  constructor(map: MapHandle) {
    this.#map = map;
  }

  /** Connections of the endpoint are judged anew from their next packet on. */
  raise(id: EndpointId): void {
    this.#edit(id, (state) => ({ ...state, revision: state.revision + 1n }));
  }

  /** As {@link raise}, for the connections of all endpoints. */
  raiseNode(): void {
    this.#edit(NODE, (state) => ({ ...state, revision: state.revision + 1n }));
  }

  /** In lockdown every packet from and to the endpoint is dropped, whatever its policy map says. */
  setLockdown(id: EndpointId, on: boolean): void {
    this.#edit(id, ({ revision, flags }) => ({
      revision: revision + 1n,
      flags: on ? flags | STATE_LOCKDOWN : flags & ~STATE_LOCKDOWN,
    }));
  }

  /** Whether somebody listens to traces: else none are made. */
  setTraced(on: boolean): void {
    this.#edit(NODE, ({ revision, flags }) => ({ revision, flags: on ? flags | STATE_TRACED : flags & ~STATE_TRACED }));
  }

  /** In which directions programs have to look for the endpoint's bandwidth. Nobody is judged again for that. */
  setLimited(id: EndpointId, { ingress, egress }: { readonly ingress: boolean; readonly egress: boolean }): void {
    const limited = (ingress ? STATE_INGRESS_LIMITED : 0) | (egress ? STATE_EGRESS_LIMITED : 0);
    const { flags } = this.#read(id);
    if ((flags & LIMITED) === limited) return;
    this.#edit(id, (state) => ({ ...state, flags: (state.flags & ~LIMITED) | limited }));
  }

  isLockedDown(id: EndpointId): boolean {
    return (this.#read(id).flags & STATE_LOCKDOWN) !== 0;
  }

  revision(id: EndpointId): bigint {
    return this.#read(id).revision;
  }

  #read(index: number): EndpointState {
    const bytes = this.#map.lookup(encode(u32, index));
    return bytes === undefined ? { revision: 0n, flags: 0 } : decode(endpointState, bytes);
  }

  #edit(index: number, change: (state: EndpointState) => EndpointState): void {
    this.#map.update(encode(u32, index), encode(endpointState, change(this.#read(index))));
  }
}
