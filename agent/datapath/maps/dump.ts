import { formatAddress, type Address } from '../../model/address.ts';

/** One map entry for people and programs: Cilium's textual key and value, and the same as fields. */
export interface DumpedEntry {
  readonly key: string;
  readonly value: string;
  readonly fields: Readonly<Record<string, string | number | boolean>>;
}

/** Says what the bytes of an entry mean. */
export type DescribeEntry = (key: Uint8Array, value: Uint8Array) => DumpedEntry;

/** The address in a 16-byte field of the kernel's maps; IPv4 stands in the first four bytes. */
export function addressFromField(field: Uint8Array, family: number): Address {
  return family === 4 ? { family: 4, bytes: field.slice(0, 4) } : { family: 6, bytes: field.slice(0, 16) };
}

/** `1.2.3.4:80` or `[fd00::1]:80`. */
export function socketText(address: Address, port: number): string {
  const text = formatAddress(address);
  return address.family === 4 ? `${text}:${port}` : `[${text}]:${port}`;
}
