/** Entries of the services' maps: codecs, and what they say to people. */
import { formatAddress } from '../../model/address.ts';
import { port, protocolName } from '../../model/port.ts';
import {
  FRONTEND_KINDS,
  socketKey,
  type Backend,
  type BackendId,
  type BackendState,
  type Frontend,
  type FrontendKind,
  type Socket,
} from '../../model/service.ts';
import { LB_ACTIVE, LB_SCOPE_INTERNAL, LB_TERMINATING, LB_UNREADY } from '../../../bpf/gen/constants.ts';
import { decode, encode, lbFlowKey, lbService, lbServiceKey, lbSocket, u32 } from '../../../bpf/gen/structs.ts';
import { addressFromField, socketText, type DescribeEntry } from './dump.ts';

const STATES: Readonly<Record<BackendState, number>> = {
  active: LB_ACTIVE,
  terminating: LB_TERMINATING,
  unready: LB_UNREADY,
};

/** @param slot 0 is the frontend itself, from 1 on its backends */
export function encodeServiceKey({ address, port: number, protocol }: Socket, slot: number): Uint8Array {
  const { bytes, family } = address;
  return encode(lbServiceKey, { addr: bytes, port: number, slot, protocol, family, scope: LB_SCOPE_INTERNAL });
}

export function decodeServiceKey(bytes: Uint8Array): { readonly socket: Socket; readonly slot: number } {
  const key = decode(lbServiceKey, bytes);
  const address = addressFromField(key.addr, key.family);
  return { socket: { address, port: port(key.port), protocol: key.protocol }, slot: key.slot };
}

/** Slot 0. */
export function encodeFrontend({ id, kind, backends, affinitySeconds }: Frontend): Uint8Array {
  const count = backends.length;
  // The order of enum lb_kind is that of precedence.
  return encode(lbService, { backend: 0, affinitySeconds, count, id, kind: FRONTEND_KINDS.indexOf(kind) });
}

export interface SlotZero {
  readonly id: number;
  readonly count: number;
  readonly kind: FrontendKind | undefined;
}

export function decodeFrontend(bytes: Uint8Array): SlotZero {
  const { id, count, kind } = decode(lbService, bytes);
  return { id, count, kind: FRONTEND_KINDS[kind] };
}

/** Slots from 1 on. */
export function encodeSlot(backend: BackendId): Uint8Array {
  return encode(lbService, { backend, affinitySeconds: 0, count: 0, id: 0, kind: 0 });
}

export function encodeSocket({ address, port: number, protocol }: Socket, state: BackendState): Uint8Array {
  const { bytes, family } = address;
  return encode(lbSocket, { addr: bytes, port: number, protocol, family, state: STATES[state] });
}

export function encodeBackend(backend: Backend): Uint8Array {
  return encodeSocket(backend, backend.state);
}

export function decodeSocket(bytes: Uint8Array): { readonly socket: Socket; readonly state: BackendState } {
  const value = decode(lbSocket, bytes);
  const state = Object.entries(STATES).find(([, number]) => number === value.state)?.[0] ?? 'unready';
  const address = addressFromField(value.addr, value.family);
  return { socket: { address, port: port(value.port), protocol: value.protocol }, state: state as BackendState };
}

export const describeLbService: DescribeEntry = (keyBytes, valueBytes) => {
  const { socket, slot } = decodeServiceKey(keyBytes);
  const frontend = socketKey(socket);
  const where = {
    frontend,
    address: formatAddress(socket.address),
    port: socket.port,
    protocol: protocolName(socket.protocol),
    slot,
  };
  if (slot > 0) {
    const { backend } = decode(lbService, valueBytes);
    return { key: `${frontend} (${slot})`, value: `backend=${backend}`, fields: { ...where, backend } };
  }
  const { id, count, kind = 'unknown' } = decodeFrontend(valueBytes);
  const value = `id=${id} count=${count} type=${kind}`;
  return { key: `${frontend} (0)`, value, fields: { ...where, id, count, type: kind } };
};

/** Of `weir_lb_revnat`. */
export const describeLbSocket: DescribeEntry = (keyBytes, valueBytes) => {
  const id = decode(u32, keyBytes);
  const socket = socketKey(decodeSocket(valueBytes).socket);
  return { key: String(id), value: socket, fields: { id, socket } };
};

export const describeLbBackend: DescribeEntry = (keyBytes, valueBytes) => {
  const id = decode(u32, keyBytes);
  const { socket, state } = decodeSocket(valueBytes);
  const key = socketKey(socket);
  return { key: String(id), value: `${key} ${state}`, fields: { id, socket: key, state } };
};

/** The family of a client is that of its service; the map does not say it again. */
export const describeLbFlow: DescribeEntry = (keyBytes, valueBytes) => {
  const { client, clientPort, service } = decode(lbFlowKey, keyBytes);
  const family = client.subarray(4).every((byte) => byte === 0) ? 4 : 6;
  const text = socketText(addressFromField(client, family), clientPort);
  const backend = decode(u32, valueBytes);
  return { key: `${text} -> ${service}`, value: `backend=${backend}`, fields: { client: text, service, backend } };
};
