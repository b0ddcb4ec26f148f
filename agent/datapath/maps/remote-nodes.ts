import { formatAddress, formatCidr, type Address, type Cidr } from '../../model/address.ts';
import type { RemoteNode } from '../../model/datapath.ts';
import { decode, encode, nodeInfo, tunnelInfo } from '../../../bpf/gen/structs.ts';
import type { MapHandle } from '../../kernel/bpf-map.ts';
import { addressFromField, type DescribeEntry } from './dump.ts';
import { decodeIpcacheKey, encodeIpcacheKey } from './ipcache.ts';
import { decodeLxcKey, encodeLxcKey } from './lxc.ts';

export const describeTunnelEntry: DescribeEntry = (key, value) => {
  const { family, addr } = decode(tunnelInfo, value);
  const [prefix, node] = [formatCidr(decodeIpcacheKey(key)), formatAddress(addressFromField(addr, family))];
  return { key: prefix, value: node, fields: { prefix, 'tunnel-endpoint': node } };
};

export const describeNodeEntry: DescribeEntry = (key) => {
  const ip = formatAddress(decodeLxcKey(key));
  return { key: ip, value: 'node', fields: { ip } };
};

/** `weir_tunnel` and `weir_nodes`: where pods' prefixes are, and who may send through the tunnel. */
export class RemoteNodeMaps {
  readonly #tunnel: MapHandle;
  readonly #nodes: MapHandle;

  constructor(maps: { readonly tunnel: MapHandle; readonly nodes: MapHandle }) {
    this.#tunnel = maps.tunnel;
    this.#nodes = maps.nodes;
  }

  /** Brings both maps to these nodes. @throws WeirError BPF_MAP_FULL, BPF_MAP_FAILED */
  async set(nodes: readonly RemoteNode[]): Promise<void> {
    const speakers = nodes.filter(({ tunnelEndpoint }) => tunnelEndpoint !== undefined);
    const info = encode(nodeInfo, { flags: 0 });
    await bring(
      this.#nodes,
      speakers.flatMap(({ addresses }) => addresses.map((address) => [encodeLxcKey(address), info] as const)),
    );
    await bring(
      this.#tunnel,
      speakers.flatMap(({ podCidrs, tunnelEndpoint }) =>
        podCidrs.map((prefix) => tunnelEntry(prefix, tunnelEndpoint!)),
      ),
    );
  }
}

function tunnelEntry(prefix: Cidr, { family, bytes }: Address): readonly [Uint8Array, Uint8Array] {
  return [encodeIpcacheKey(prefix), encode(tunnelInfo, { family, addr: bytes })];
}

/** Brings a map to exactly `wanted`: what is new or other first, then without what is gone. */
async function bring(map: MapHandle, wanted: readonly (readonly [Uint8Array, Uint8Array])[]): Promise<void> {
  const missing = new Map(wanted.map(([key, value]) => [hex(key), { key, value }]));
  const gone: Uint8Array[] = [];
  for await (const { key, value } of map.entries()) {
    const entry = missing.get(hex(key));
    if (entry === undefined) gone.push(Uint8Array.from(key));
    else if (hex(entry.value) === hex(value)) missing.delete(hex(key));
  }
  for (const { key, value } of missing.values()) map.update(key, value);
  for (const key of gone) map.delete(key);
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
