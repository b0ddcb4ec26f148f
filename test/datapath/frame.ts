/** Ethernet frames from what matters in a test; lengths and checksums are computed, everything else has a sane default. */
import { parseAddress } from '../../agent/model/address.ts';
import { parseMac } from '../../agent/model/mac.ts';
import { PROTOCOL } from '../../agent/model/port.ts';

export const TCP = { fin: 0x01, syn: 0x02, rst: 0x04, psh: 0x08, ack: 0x10 } as const;

/** A fragment of a datagram: `offset` in bytes, a multiple of 8. */
export interface Fragment {
  readonly id: number;
  readonly offset: number;
  readonly more: boolean;
}

/** What goes into an IP packet. */
export type Payload =
  | { readonly tcp: readonly [number, number]; readonly flags?: number }
  | { readonly udp: readonly [number, number]; readonly data?: Uint8Array }
  | { readonly sctp: readonly [number, number] }
  | {
      readonly icmp: {
        readonly type: number;
        readonly code?: number;
        readonly id?: number;
        readonly quote?: Uint8Array;
      };
    }
  | { readonly raw: Uint8Array; readonly protocol: number };

/** An IP packet with its link header. */
export interface IpFrame {
  readonly from: string;
  readonly to: string;
  readonly payload: Payload;
  readonly macs?: { readonly to: string; readonly from: string };
  readonly ttl?: number;
  readonly fragment?: Fragment;
  /** IPv4 options, or IPv6 extension headers, already encoded. */
  readonly options?: Uint8Array;
  /** IPv6: kind of the first extension header in `options`. */
  readonly firstExtension?: number;
}

export function ip(frame: IpFrame): Buffer {
  const packet = frame.from.includes(':') ? ipv6Packet(frame) : ipv4Packet(frame);
  return ethernet(frame.from.includes(':') ? 0x86dd : 0x0800, packet, frame.macs);
}

export function ethernet(type: number, payload: Uint8Array, macs?: { to: string; from: string }): Buffer {
  const header = Buffer.alloc(14);
  if (macs !== undefined) header.set([...parseMac(macs.to), ...parseMac(macs.from)]);
  header.writeUInt16BE(type, 12);
  return Buffer.concat([header, payload]);
}

/** The packet without its link header, as an ICMP error quotes it. */
export const quoteOf = (frame: Buffer, bytes = 48): Uint8Array => frame.subarray(14, 14 + bytes);

function ipv4Packet({ from, to, payload, ttl = 64, fragment, options = new Uint8Array() }: IpFrame): Buffer {
  const source = parseAddress(from).bytes;
  const destination = parseAddress(to).bytes;
  const body = transport(payload, Buffer.concat([source, destination]), 4);
  const header = Buffer.alloc(20 + options.length);
  header[0] = 0x40 | (header.length / 4);
  header.writeUInt16BE(header.length + body.bytes.length, 2);
  if (fragment !== undefined) {
    header.writeUInt16BE(fragment.id, 4);
    header.writeUInt16BE((fragment.more ? 0x2000 : 0) | (fragment.offset / 8), 6);
  }
  header[8] = ttl;
  header[9] = body.protocol;
  header.set(source, 12);
  header.set(destination, 16);
  header.set(options, 20);
  header.writeUInt16BE(checksum(header), 10);
  return Buffer.concat([header, body.bytes]);
}

function ipv6Packet({ from, to, payload, ttl = 64, fragment, options, firstExtension }: IpFrame): Buffer {
  const source = parseAddress(from).bytes;
  const destination = parseAddress(to).bytes;
  const body = transport(payload, Buffer.concat([source, destination]), 6);
  let rest = body.bytes;
  let next = body.protocol;
  if (fragment !== undefined) {
    const header = Buffer.alloc(8);
    header[0] = next;
    header.writeUInt16BE(fragment.offset | (fragment.more ? 1 : 0), 2);
    header.writeUInt32BE(fragment.id, 4);
    rest = Buffer.concat([header, rest]);
    next = 44;
  }
  if (options !== undefined && firstExtension !== undefined) {
    rest = Buffer.concat([options, rest]);
    next = firstExtension;
  }
  const header = Buffer.alloc(40);
  header[0] = 0x60;
  header.writeUInt16BE(rest.length, 4);
  header[6] = next;
  header[7] = ttl;
  header.set(source, 8);
  header.set(destination, 24);
  return Buffer.concat([header, rest]);
}

function transport(payload: Payload, addresses: Uint8Array, family: 4 | 6): { protocol: number; bytes: Buffer } {
  if ('raw' in payload) return { protocol: payload.protocol, bytes: Buffer.from(payload.raw) };
  if ('icmp' in payload) return icmp(payload.icmp, addresses, family);
  if ('tcp' in payload) return { protocol: PROTOCOL.TCP, bytes: tcp(payload.tcp, payload.flags ?? TCP.ack) };
  if ('udp' in payload) {
    const data = payload.data ?? new Uint8Array(8);
    const header = ports(payload.udp, 8);
    header.writeUInt16BE(8 + data.length, 4);
    return { protocol: PROTOCOL.UDP, bytes: Buffer.concat([header, data]) };
  }
  return { protocol: PROTOCOL.SCTP, bytes: ports(payload.sctp, 12) };
}

function ports([source, destination]: readonly [number, number], length: number): Buffer {
  const header = Buffer.alloc(length);
  header.writeUInt16BE(source, 0);
  header.writeUInt16BE(destination, 2);
  return header;
}

function tcp(pair: readonly [number, number], flags: number): Buffer {
  const header = ports(pair, 20);
  header[12] = 5 << 4;
  header[13] = flags;
  return header;
}

function icmp(
  message: { type: number; code?: number; id?: number; quote?: Uint8Array },
  addresses: Uint8Array,
  family: 4 | 6,
): { protocol: number; bytes: Buffer } {
  const bytes = Buffer.concat([Buffer.alloc(8), message.quote ?? Buffer.alloc(8)]);
  bytes[0] = message.type;
  bytes[1] = message.code ?? 0;
  bytes.writeUInt16BE(message.id ?? 0, 4);
  const protocol = family === 4 ? PROTOCOL.ICMP : PROTOCOL.ICMPv6;
  bytes.writeUInt16BE(checksum(family === 4 ? bytes : Buffer.concat([pseudo6(addresses, bytes.length), bytes])), 2);
  return { protocol, bytes };
}

/** RFC 8200 §8.1. */
export function pseudo6(addresses: Uint8Array, length: number): Buffer {
  const tail = Buffer.alloc(8);
  tail.writeUInt32BE(length, 0);
  tail[7] = PROTOCOL.ICMPv6;
  return Buffer.concat([addresses, tail]);
}

/** The Internet checksum (RFC 1071); 0 over bytes that hold a right one. */
export function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i]! << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}

/** An ARP message (RFC 826); operation 1 asks, 2 answers. */
export function arp(message: {
  operation: number;
  sender: [mac: string, ip: string];
  target: [mac: string, ip: string];
}): Buffer {
  const body = Buffer.alloc(28);
  body.set([0, 1, 8, 0, 6, 4, 0, message.operation]);
  body.set([...parseMac(message.sender[0]), ...parseAddress(message.sender[1]).bytes], 8);
  body.set([...parseMac(message.target[0]), ...parseAddress(message.target[1]).bytes], 18);
  return ethernet(0x0806, body, { to: 'ff:ff:ff:ff:ff:ff', from: message.sender[0] });
}

/** A neighbour solicitation (135) or advertisement (136) of RFC 4861, with its link address option unless `mac` is absent. */
export function neighbour(message: {
  readonly type: number;
  readonly from: string;
  readonly to: string;
  readonly target: string;
  readonly mac?: string;
  readonly ttl?: number;
}): Buffer {
  const option = message.mac === undefined ? [] : [message.type === 135 ? 1 : 2, 1, ...parseMac(message.mac)];
  const quote = Buffer.from([...parseAddress(message.target).bytes, ...option]);
  return ip({
    from: message.from,
    to: message.to,
    ttl: message.ttl ?? 255,
    payload: { icmp: { type: message.type, quote } },
  });
}
