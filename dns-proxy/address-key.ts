import type { Address } from '../agent/model/address.ts';

/** An address as the key of a map: a number for IPv4, so that the common case makes no text. */
export type AddressKey = number | string;

export function addressKey({ family, bytes }: Address): AddressKey {
  if (family === 4) return ((bytes[0]! << 24) | (bytes[1]! << 16) | (bytes[2]! << 8) | bytes[3]!) >>> 0;
  let key = '';
  for (let i = 0; i < 16; i += 2) key += String.fromCharCode((bytes[i]! << 8) | bytes[i + 1]!);
  return key;
}
