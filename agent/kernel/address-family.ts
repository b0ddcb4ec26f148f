/** Address families: the kernel's numbers and the model's. */
import type { Address } from '../model/address.ts';

/** AF_INET or AF_INET6. */
export function addressFamily(family: Address['family']): number {
  return family === 4 ? 2 : 10;
}

/** 4 or 6; undefined for families that Weir does not route. */
export function familyOf(af: number | undefined): Address['family'] | undefined {
  return af === 2 ? 4 : af === 10 ? 6 : undefined;
}

/** An address from the bytes of an attribute, as a copy. */
export function addressFrom(family: Address['family'], bytes: Uint8Array): Address {
  return { family, bytes: Uint8Array.from(bytes) };
}
