import { WeirError } from './errors.ts';

/** A 48-bit hardware address: 6 bytes. */
export type Mac = Uint8Array & { readonly __brand: 'Mac' };

/**
 * Parses `aa:bb:cc:dd:ee:ff`.
 *
 * @throws WeirError ADDRESS_INVALID
 */
export function parseMac(text: string): Mac {
  if (!/^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$/.test(text)) {
    throw new WeirError('ADDRESS_INVALID', `${JSON.stringify(text)} is not a MAC address`);
  }
  return Uint8Array.from(text.split(':'), (byte) => parseInt(byte, 16)) as Mac;
}

export function formatMac(mac: Mac): string {
  return [...mac].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}

/** A unicast, locally administered address (IEEE 802 §8.2) made of 6 random bytes. */
export function localMac(random: Uint8Array): Mac {
  const mac = Uint8Array.from(random.subarray(0, 6));
  mac[0] = (mac[0]! & 0xfe) | 0x02;
  return mac as Mac;
}
