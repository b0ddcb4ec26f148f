import { formatCidr, fullPrefix, parseCidr, type Cidr } from '../../model/address.ts';
import type { RemoteNode } from '../../model/datapath.ts';
import type { MapHandle } from '../../kernel/bpf-map.ts';
import type { DescribeEntry } from './dump.ts';
import { decodeIpcacheKey, encodeIpcacheKey } from './ipcache.ts';

const YES = Uint8Array.of(1, 0, 0, 0);

/** Whoever answers there is on the same link as the node, and nobody routes to it. */
const LINK_LOCAL = ['169.254.0.0/16', 'fe80::/10'].map(parseCidr);

export const describeNonMasquerade: DescribeEntry = (key) => {
  const prefix = formatCidr(decodeIpcacheKey(key));
  return { key: prefix, value: 'as the pod', fields: { prefix } };
};

/** `weir_non_masquerade`: where pods' packets leave the node under the pods' own addresses. */
export class NonMasqueradeMap {
  readonly #map: MapHandle;
  /** What the configuration says, and link-local addresses. */
  readonly #always: readonly Cidr[];

  constructor(map: MapHandle, configured: readonly Cidr[]) {
    this.#map = map;
    this.#always = [...LINK_LOCAL, ...configured];
  }

  /** Adds what is configured, and leaves the nodes that an earlier agent knew of. @throws WeirError BPF_MAP_FAILED */
  open(): void {
    for (const prefix of this.#always) this.#map.update(encodeIpcacheKey(prefix), YES);
  }

  /**
   * Brings the map to what is configured and the nodes' addresses, which may have the identity of an API server and then do
   * not tell that they are of the cluster.
   *
   * @throws WeirError BPF_MAP_FULL, BPF_MAP_FAILED
   */
  async set(nodes: readonly RemoteNode[]): Promise<void> {
    const prefixes = [...this.#always, ...nodes.flatMap(({ addresses }) => addresses.map(fullPrefix))];
    const wanted = new Map(prefixes.map((prefix) => [formatCidr(prefix), prefix]));
    const gone: Cidr[] = [];
    for await (const { key } of this.#map.entries()) {
      const prefix = decodeIpcacheKey(key);
      if (!wanted.delete(formatCidr(prefix))) gone.push(prefix);
    }
    for (const prefix of wanted.values()) this.#map.update(encodeIpcacheKey(prefix), YES);
    for (const prefix of gone) this.#map.delete(encodeIpcacheKey(prefix));
  }
}
