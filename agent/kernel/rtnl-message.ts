/**
 * What the rtnetlink messages of this folder have in common. Struct and attribute codecs are the `netlink` package's
 * where it has them; its socket is not used, for it cannot be opened inside another namespace.
 */
import { AttrStream, type StreamData } from 'netlink/dist/structs.js';

/** RTM_* message types (linux/rtnetlink.h). */
export const RTM = {
  NEWLINK: 16,
  DELLINK: 17,
  GETLINK: 18,
  NEWADDR: 20,
  DELADDR: 21,
  GETADDR: 22,
  NEWROUTE: 24,
  DELROUTE: 25,
  GETROUTE: 26,
  NEWNEIGH: 28,
  DELNEIGH: 29,
  GETNEIGH: 30,
  NEWRULE: 32,
  DELRULE: 33,
  GETRULE: 34,
  NEWQDISC: 36,
  DELQDISC: 37,
  NEWTFILTER: 44,
  GETTFILTER: 46,
} as const;

/** A message's body: its fixed struct, then attributes. */
export function messageBody(...parts: readonly StreamData[]): Uint8Array {
  return Buffer.concat(stream(parts).bufs);
}

/** An attribute that holds attributes. */
export function nested(type: number, ...parts: readonly StreamData[]): StreamData {
  return (out) => out.push(type, stream(parts).bufs);
}

/** One attribute. Numbers are 32 bits in host order, text is NUL-terminated. */
export function attribute(type: number, value: Uint8Array | number | string): StreamData {
  return (out) => out.push(type, encodeValue(value));
}

function encodeValue(value: Uint8Array | number | string): Uint8Array {
  if (typeof value === 'string') return Buffer.from(`${value}\0`);
  return typeof value === 'number' ? u32(value) : value;
}

/** 32 bits in host order. */
export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
}

function stream(parts: readonly StreamData[]): AttrStream {
  const out = new AttrStream();
  for (const part of parts) out.emit(part);
  return out;
}
