/** Services on a test node, and what tests want to know of the frames that go through them. */
import assert from 'node:assert/strict';
import { parseAddress, parseCidr } from '../../agent/model/address.ts';
import { PROTOCOL } from '../../agent/model/port.ts';
import { LB_ACTIVE, LB_CLUSTER_IP, LB_SOURCE_STATIC_BITS } from '../../bpf/gen/constants.ts';
import { encode, lbMember, lbService, lbServiceKey, lbSocket, lbSourceKey, u32 } from '../../bpf/gen/structs.ts';
import { checksum, ip, pseudo6, type Payload } from './frame.ts';
import type { TestNode } from './node.ts';

export const SERVICE_PORT = 80;
export const BACKEND_PORT = 8080;

export interface TestService {
  readonly address: string;
  readonly protocol: number;
  readonly id: number;
  /** Numbers of backends. */
  readonly backends: readonly number[];
  /** enum lb_kind; a cluster address when absent. */
  readonly kind?: number;
  /** enum lb_flags. */
  readonly flags?: number;
  /** enum lb_scope. */
  readonly scope?: number;
  readonly affinitySeconds?: number;
  readonly sourceRanges?: readonly string[];
}

export function socket(address: string, port: number, protocol: number, state = LB_ACTIVE): Uint8Array {
  const { bytes, family } = parseAddress(address);
  return encode(lbSocket, { addr: bytes, port, protocol, family, state });
}

export function serve(node: TestNode, service: TestService): void {
  const { address, protocol, id, backends, scope = 0, kind = LB_CLUSTER_IP, flags = 0 } = service;
  const { affinitySeconds = 0, sourceRanges = [] } = service;
  const { bytes, family } = parseAddress(address);
  const write = (slot: number, backend: number) =>
    node.maps.weir_lb_services.update(
      encode(lbServiceKey, { addr: bytes, port: SERVICE_PORT, slot, protocol, family, scope }),
      encode(lbService, { backend, affinitySeconds, count: slot === 0 ? backends.length : 0, id, kind, flags }),
    );
  const yes = encode(u32, 1);
  for (const range of sourceRanges.map(parseCidr)) {
    const prefixlen = LB_SOURCE_STATIC_BITS + range.length;
    const key = { prefixlen, service: id, family: range.address.family, addr: range.address.bytes };
    node.maps.weir_lb_source_ranges.update(encode(lbSourceKey, key), yes);
  }
  if (affinitySeconds > 0) {
    for (const backend of backends) node.maps.weir_lb_members.update(encode(lbMember, { backend, service: id }), yes);
  }
  for (const [i, backend] of backends.entries()) write(i + 1, backend);
  write(0, 0);
  node.maps.weir_lb_revnat.update(encode(u32, id), socket(address, SERVICE_PORT, protocol));
}

export function backend(node: TestNode, id: number, address: string, protocol: number, state = LB_ACTIVE): void {
  node.maps.weir_lb_backends.update(encode(u32, id), socket(address, BACKEND_PORT, protocol, state));
}

/** Forgets connections, services, backends and what is remembered of them. */
export async function forgetServices(node: TestNode): Promise<void> {
  await node.forgetConnections();
  const { weir_lb_services, weir_lb_backends, weir_lb_flows, weir_lb_affinity, weir_lb_members } = node.maps;
  const { weir_lb_source_ranges, weir_lb_maglev, weir_lb_asked } = node.maps;
  const remembered = [weir_lb_flows, weir_lb_asked, weir_lb_affinity, weir_lb_members];
  for (const map of [weir_lb_services, weir_lb_backends, ...remembered]) {
    for await (const { key } of map.entries()) map.delete(key);
  }
  for (const map of [weir_lb_source_ranges, weir_lb_maglev]) {
    const keys: Buffer[] = [];
    for await (const { key } of map.entries()) keys.push(Buffer.from(key));
    for (const key of keys) map.delete(key);
  }
}

/** Bytes of a frame's IP header, which has no options. */
export const headerBytes = (frame: Buffer): number => (frame[12] === 8 ? 20 : 40);

/** Source, destination and ports of a frame, as text. */
export function ends(frame: Buffer): string {
  const size = headerBytes(frame) === 20 ? 4 : 16;
  const at = size === 4 ? 26 : 22;
  const of = (offset: number) => frame.subarray(offset, offset + size).toString('hex');
  const transport = 14 + headerBytes(frame);
  return `${of(at)}:${frame.readUInt16BE(transport)} ${of(at + size)}:${frame.readUInt16BE(transport + 2)}`;
}

export const hexOf = (address: string): string => Buffer.from(parseAddress(address).bytes).toString('hex');

/** The transport checksum over addresses and payload, 0 when it is right. */
export function transportSum(frame: Buffer, protocol: number): number {
  const addresses = headerBytes(frame) === 20 ? frame.subarray(26, 34) : frame.subarray(22, 54);
  const body = frame.subarray(14 + headerBytes(frame));
  const pseudo = Buffer.from(pseudo6(addresses, body.length));
  pseudo[pseudo.length - 1] = protocol;
  return checksum(Buffer.concat([pseudo, body]));
}

/** A frame with a right transport checksum. */
export function summed(from: string, to: string, payload: Payload): Buffer {
  const frame = ip({ from, to, payload });
  const udp = 'udp' in payload;
  const offset = 14 + headerBytes(frame) + (udp ? 6 : 16);
  frame.writeUInt16BE(transportSum(frame, udp ? PROTOCOL.UDP : PROTOCOL.TCP), offset);
  return frame;
}

/** The frame says to `to` that `port` of its own found nobody at `from`, and quotes its packet. */
export function assertUnreachable(
  frame: Buffer,
  { from, to, port, protocol }: { from: string; to: string; port: number; protocol: number },
): void {
  const [v4, size] = [headerBytes(frame) === 20, headerBytes(frame)];
  const at = 14 + size;
  assert.equal(
    ends(frame)
      .split(' ')
      .map((end) => end.split(':')[0])
      .join(),
    [hexOf(from), hexOf(to)].join(),
  );
  assert.equal(frame[v4 ? 23 : 20], v4 ? PROTOCOL.ICMP : PROTOCOL.ICMPv6);
  assert.deepEqual([...frame.subarray(at, at + 2)], v4 ? [3, 3] : [1, 4], 'port unreachable');
  if (v4) {
    assert.equal(checksum(frame.subarray(14, 34)), 0);
    assert.equal(checksum(frame.subarray(34)), 0);
    assert.equal(frame.readUInt16BE(16), frame.length - 14);
  } else {
    assert.equal(transportSum(frame, PROTOCOL.ICMPv6), 0);
    assert.equal(frame.readUInt16BE(18), frame.length - 54);
  }
  const quote = Buffer.concat([frame.subarray(0, 14), frame.subarray(at + 8)]);
  assert.equal(ends(quote), `${hexOf(to)}:${port} ${hexOf(from)}:${SERVICE_PORT}`);
  assert.equal(quote[v4 ? 23 : 20], protocol);
}
