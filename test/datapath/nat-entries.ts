/** What the map of translated connections holds, as tests see and change it. */
import { parseAddress } from '../../agent/model/address.ts';
import { NAT_FIRST_PORT, NAT_IN, NAT_OUT, NAT_PORTS } from '../../bpf/gen/constants.ts';
import { decode, encode, natEntry, natKey, type NatEntry, type NatKey } from '../../bpf/gen/structs.ts';
import type { TestNode } from './node.ts';

export interface Translation {
  readonly key: NatKey;
  readonly entry: NatEntry;
}

/** All entries of one way. */
export async function translations(node: TestNode, way: 'out' | 'in'): Promise<Translation[]> {
  const found: Translation[] = [];
  for await (const { key, value } of node.maps.weir_nat.entries()) {
    const decoded = decode(natKey, key);
    if (decoded.way === (way === 'out' ? NAT_OUT : NAT_IN))
      found.push({ key: decoded, entry: decode(natEntry, value) });
  }
  return found;
}

export function write(node: TestNode, { key, entry }: Translation, change: Partial<NatEntry> = {}): void {
  node.maps.weir_nat.update(encode(natKey, key), encode(natEntry, { ...entry, ...change }));
}

export function remove(node: TestNode, { key }: Translation): void {
  node.maps.weir_nat.delete(encode(natKey, key));
}

export async function forgetTranslations(node: TestNode): Promise<void> {
  const keys: Buffer[] = [];
  for await (const { key } of node.maps.weir_nat.entries()) keys.push(Buffer.from(key));
  if (keys.length > 0) await node.maps.weir_nat.deleteBatch(Buffer.concat(keys));
}

/** An hour from now, on the clock of the kernel's entries. */
export const later = (): bigint => process.hrtime.bigint() + 3_600_000_000_000n;

/** Seconds that an entry still lives. */
export const lifetime = ({ entry }: Translation): number => Number(entry.expires - process.hrtime.bigint()) / 1e9;

/** Makes every port towards a destination somebody else's, until `expires`. @param flags enum ct_flags */
export async function takeAllPorts(
  node: TestNode,
  to: { readonly address: string; readonly port: number; readonly protocol: number; readonly node: string },
  expires: bigint,
  flags = 0,
): Promise<void> {
  const { family, bytes } = parseAddress(to.address);
  const other = parseAddress(family === 4 ? '10.9.9.9' : 'fd09::9').bytes;
  const key = {
    remote: bytes,
    local: parseAddress(to.node).bytes,
    remotePort: to.port,
    service: 0,
    way: NAT_IN,
    family,
  };
  const keys: Uint8Array[] = [];
  const values: Uint8Array[] = [];
  for (let i = 0; i < NAT_PORTS; i++) {
    keys.push(encode(natKey, { ...key, protocol: to.protocol, localPort: NAT_FIRST_PORT + i }));
    values.push(encode(natEntry, { expires, addr: other, port: 1, service: 0, touched: 0, flags }));
  }
  await node.maps.weir_nat.updateBatch(Buffer.concat(keys), Buffer.concat(values));
}
