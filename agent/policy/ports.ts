/** Ports as policy maps hold them: a protocol and a prefix of the port (S6, S9). */

/**
 * Protocol, prefix length and port in one integer, in this order of significance, so that a sorted list has broader keys
 * of a protocol first. 0 is every protocol.
 */
export type PortKey = number;

export function portKey(protocol: number, port: number, prefix: number): PortKey {
  return (protocol << 21) | (prefix << 16) | port;
}

export const keyProtocol = (key: PortKey): number => key >>> 21;
export const keyPrefix = (key: PortKey): number => (key >>> 16) & 31;
export const keyPort = (key: PortKey): number => key & 0xffff;

/** How much of a packet's protocol and port a key fixes: longer is more specific (S7). */
export const keySpecificity = (key: PortKey): number => (key === 0 ? 0 : 1 + keyPrefix(key));

/** Whether `outer` matches all that `inner` matches. */
export function keyCovers(outer: PortKey, inner: PortKey): boolean {
  if (outer === 0) return true;
  if (keyProtocol(outer) !== keyProtocol(inner)) return false;
  const prefix = keyPrefix(outer);
  return prefix <= keyPrefix(inner) && ((keyPort(outer) ^ keyPort(inner)) & portMask(prefix)) === 0;
}

/** `key` cut to its first `prefix` bits of port. */
export function keyAt(key: PortKey, prefix: number): PortKey {
  return portKey(keyProtocol(key), keyPort(key) & portMask(prefix), prefix);
}

export const portMask = (prefix: number): number => (0xffff << (16 - prefix)) & 0xffff;

/** A port with the number of its leading bits that count. */
export interface MaskedPort {
  readonly port: number;
  readonly prefix: number;
}

/**
 * The fewest masked ports that make up `start`..`end`. An `end` not above `start` means the one port (S9), and port 0
 * without an end means all.
 */
export function maskedPorts(start: number, end: number): readonly MaskedPort[] {
  if (end <= start) return [start === 0 ? { port: 0, prefix: 0 } : { port: start, prefix: 16 }];
  const out: MaskedPort[] = [];
  let port = start;
  while (port <= end) {
    // The largest aligned block that begins here and does not pass the end.
    let size = port === 0 ? 0x10000 : port & -port;
    while (port + size - 1 > end) size >>>= 1;
    out.push({ port, prefix: Math.clz32(size) - 15 });
    port += size;
  }
  return out;
}
