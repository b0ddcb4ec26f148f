/** Entries of the services' maps: codecs, and what they say to people. */
import { formatAddress, formatCidr, type Cidr } from '../../model/address.ts';
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
import * as LB from '../../../bpf/gen/constants.ts';
import {
  decode,
  encode,
  lbAffinityKey,
  lbAsked,
  lbFlowKey,
  lbLast,
  lbMember,
  lbService,
  lbServiceKey,
  lbSocket,
  lbSourceKey,
  u32,
} from '../../../bpf/gen/structs.ts';
import { addressFromField, socketText, type DescribeEntry } from './dump.ts';

const STATES: Readonly<Record<BackendState, number>> = {
  active: LB.LB_ACTIVE,
  terminating: LB.LB_TERMINATING,
  unready: LB.LB_UNREADY,
};

/** For whom backends are: clients of this node (and everybody, where that makes no difference), or those from outside. */
export type LbScope = 'internal' | 'external';

const SCOPES: Readonly<Record<LbScope, number>> = { internal: LB.LB_SCOPE_INTERNAL, external: LB.LB_SCOPE_EXTERNAL };

/** @param slot 0 is the frontend itself, from 1 on its backends */
export function encodeServiceKey(
  { address, port: number, protocol }: Socket,
  slot: number,
  scope: LbScope = 'internal',
): Uint8Array {
  const { bytes, family } = address;
  return encode(lbServiceKey, { addr: bytes, port: number, slot, protocol, family, scope: SCOPES[scope] });
}

export interface ServiceSlot {
  readonly socket: Socket;
  readonly slot: number;
  readonly scope: LbScope;
}

export function decodeServiceKey(bytes: Uint8Array): ServiceSlot {
  const key = decode(lbServiceKey, bytes);
  const address = addressFromField(key.addr, key.family);
  const scope = key.scope === LB.LB_SCOPE_EXTERNAL ? 'external' : 'internal';
  return { socket: { address, port: port(key.port), protocol: key.protocol }, slot: key.slot, scope };
}

/** Whether clients from outside get other backends than those of this node. */
export function hasTwoScopes({ backends, externalBackends }: Frontend): boolean {
  return backends.length !== externalBackends.length || backends.some((id, i) => id !== externalBackends[i]);
}

/** Slot 0. @param maglev whether clients from outside are spread by a table */
export function encodeFrontend(frontend: Frontend, scope: LbScope, maglev: boolean): Uint8Array {
  const { id, kind, affinitySeconds } = frontend;
  const count = (scope === 'internal' ? frontend.backends : frontend.externalBackends).length;
  const flags =
    (hasTwoScopes(frontend) ? LB.LB_TWO_SCOPES : 0) |
    (frontend.sourceRanges === undefined ? 0 : LB.LB_SOURCE_RANGES) |
    (maglev ? LB.LB_MAGLEV : 0) |
    (frontend.internalTrafficPolicy === 'Local' ? LB.LB_LOCAL_INTERNAL : 0) |
    (frontend.externalTrafficPolicy === 'Local' && kind !== 'ClusterIP' ? LB.LB_LOCAL_EXTERNAL : 0);
  // The order of enum lb_kind is that of precedence.
  return encode(lbService, { backend: 0, affinitySeconds, count, id, kind: FRONTEND_KINDS.indexOf(kind), flags });
}

export interface SlotZero {
  readonly id: number;
  readonly count: number;
  readonly kind: FrontendKind | undefined;
  /** enum lb_flags of bpf/lib/types.h. */
  readonly flags: number;
  readonly affinitySeconds: number;
}

export function decodeFrontend(bytes: Uint8Array): SlotZero {
  const { kind, ...rest } = decode(lbService, bytes);
  return { ...rest, kind: FRONTEND_KINDS[kind] };
}

/** Key of `weir_lb_members`. */
export function encodeMember(service: number, backend: BackendId): Uint8Array {
  return encode(lbMember, { backend, service });
}

/** Key of `weir_lb_source_ranges`. */
export function encodeSourceRange(service: number, { address, length }: Cidr): Uint8Array {
  const { bytes, family } = address;
  return encode(lbSourceKey, { prefixlen: LB.LB_SOURCE_STATIC_BITS + length, service, family, addr: bytes });
}

/** Slots from 1 on. */
export function encodeSlot(backend: BackendId): Uint8Array {
  return encode(lbService, { backend, affinitySeconds: 0, count: 0, id: 0, kind: 0, flags: 0 });
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

/** As Cilium names them. */
function flagNames(kind: string, flags: number, affinitySeconds: number): string[] {
  const names: readonly (readonly [string, boolean])[] = [
    ['Local', (flags & LB.LB_LOCAL_EXTERNAL) !== 0],
    ['InternalLocal', (flags & LB.LB_LOCAL_INTERNAL) !== 0],
    ['sessionAffinity', affinitySeconds > 0],
    ['check source-range', (flags & LB.LB_SOURCE_RANGES) !== 0],
    ['two-scopes', (flags & LB.LB_TWO_SCOPES) !== 0],
    ['maglev', (flags & LB.LB_MAGLEV) !== 0],
    ['non-routable', kind === 'ClusterIP'],
  ];
  return names.filter(([, set]) => set).map(([name]) => name);
}

export const describeLbService: DescribeEntry = (keyBytes, valueBytes) => {
  const { socket, slot, scope } = decodeServiceKey(keyBytes);
  const frontend = socketKey(socket);
  const suffix = scope === 'external' ? ' external' : '';
  const where = {
    frontend,
    address: formatAddress(socket.address),
    port: socket.port,
    protocol: protocolName(socket.protocol),
    slot,
    scope,
  };
  if (slot > 0) {
    const { backend } = decode(lbService, valueBytes);
    return { key: `${frontend} (${slot})${suffix}`, value: `backend=${backend}`, fields: { ...where, backend } };
  }
  const { id, count, kind = 'unknown', affinitySeconds, flags } = decodeFrontend(valueBytes);
  const names = flagNames(kind, flags, affinitySeconds).join(', ');
  const value = `id=${id} count=${count} type=${kind}${names === '' ? '' : ` flags=[${names}]`}`;
  const more = { ...(affinitySeconds > 0 && { 'affinity-seconds': affinitySeconds }), flags: names };
  return { key: `${frontend} (0)${suffix}`, value, fields: { ...where, id, count, type: kind, ...more } };
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

/** The node that a client of a node port at any node asked. */
export const describeLbAsked: DescribeEntry = (keyBytes, valueBytes) => {
  const { client, clientPort, service } = decode(lbFlowKey, keyBytes);
  const { addr } = decode(lbAsked, valueBytes);
  const family = [...client.subarray(4), ...addr.subarray(4)].every((byte) => byte === 0) ? 4 : 6;
  const text = socketText(addressFromField(client, family), clientPort);
  const asked = formatAddress(addressFromField(addr, family));
  return { key: `${text} -> ${service}`, value: `asked=${asked}`, fields: { client: text, service, asked } };
};

/** A client is an address, or a network namespace of which the kernel knows the number. */
export const describeLbAffinity =
  (monotonic: () => bigint): DescribeEntry =>
  (keyBytes, valueBytes) => {
    const { client: bytes, service, kind } = decode(lbAffinityKey, keyBytes);
    const { backend, used } = decode(lbLast, valueBytes);
    const family = bytes.subarray(4).every((byte) => byte === 0) ? 4 : 6;
    const client =
      kind === LB.LB_CLIENT_NETNS
        ? `netns ${Buffer.from(bytes).readBigUInt64LE()}`
        : formatAddress(addressFromField(bytes, family));
    const age = Number((monotonic() - used) / 1_000_000_000n);
    const value = `backend=${backend} used=${age}s ago`;
    return { key: `${client} -> ${service}`, value, fields: { client, service, backend, 'used-seconds-ago': age } };
  };

export const describeLbSourceRange: DescribeEntry = (keyBytes) => {
  const { prefixlen, service, family, addr } = decode(lbSourceKey, keyBytes);
  const length = prefixlen - LB.LB_SOURCE_STATIC_BITS;
  const range = formatCidr({ address: addressFromField(addr, family), length });
  return { key: `${service} ${range}`, value: 'allowed', fields: { service, range } };
};
