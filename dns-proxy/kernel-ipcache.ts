/** The kernel's ipcache through its pins: it outlives the agent, and so does what the proxy knows of servers. */
import path from 'node:path';
import { IPCACHE_STATIC_BITS } from '../bpf/gen/constants.ts';
import { decode, encode, endpointState, ipcacheInfo, ipcacheKey } from '../bpf/gen/structs.ts';
import { encodeIpcacheKey, encodeIpcacheValue } from '../agent/datapath/maps/ipcache.ts';
import { BpfMap } from '../agent/kernel/bpf-map.ts';
import { Mapping, PROTECTION } from '../agent/kernel/mapping.ts';
import type { Address } from '../agent/model/address.ts';
import { WeirError } from '../agent/model/errors.ts';
import { identityId } from '../agent/model/identity.ts';
import type { IdentitySource } from './server-identities.ts';

export class PinnedIpcache implements IdentitySource, Disposable {
  readonly #bpfRoot: string;
  #maps: OpenMaps;

  /** @throws WeirError BPF_MAP_FAILED when there is no such node */
  constructor(bpfRoot: string) {
    this.#bpfRoot = bpfRoot;
    this.#maps = new OpenMaps(bpfRoot);
  }

  reopen(): void {
    const maps = new OpenMaps(this.#bpfRoot);
    this.#maps.close();
    this.#maps = maps;
  }

  lookup({ family, bytes }: Address): number | undefined {
    const prefixlen = IPCACHE_STATIC_BITS + bytes.length * 8;
    const found = this.#maps.ipcache.lookup(encode(ipcacheKey, { prefixlen, family, addr: bytes }));
    return found === undefined ? undefined : decode(ipcacheInfo, found).identity;
  }

  revision(): bigint {
    return Atomics.load(this.#maps.nodeRevision, 0);
  }

  /** Gives one address an identity: the map first, then the revision (bpf/README.md). @throws WeirError BPF_MAP_FULL */
  write(address: Address, identity: number): void {
    const prefix = { address, length: address.bytes.length * 8 };
    const value = encodeIpcacheValue({ prefix, identity: identityId(identity) });
    this.#maps.ipcache.update(encodeIpcacheKey(prefix), value);
    Atomics.add(this.#maps.nodeRevision, 0, 1n);
  }

  [Symbol.dispose](): void {
    this.#maps.close();
  }
}

/** The node's own revision is the first field of the first entry of weir_revision. */
class OpenMaps {
  readonly ipcache: BpfMap;
  readonly nodeRevision: BigUint64Array;
  readonly #mapping: Mapping;

  constructor(bpfRoot: string) {
    using undo = new DisposableStack();
    this.ipcache = undo.use(openMap(bpfRoot, 'weir_ipcache'));
    // A mapping outlives the descriptor that it was made with.
    using revisions = openMap(bpfRoot, 'weir_revision');
    this.#mapping = new Mapping(revisions.fd, endpointState.size, PROTECTION.read | PROTECTION.write);
    this.nodeRevision = new BigUint64Array(this.#mapping.view(), 0, 1);
    undo.move();
  }

  close(): void {
    this.ipcache.close();
    this.#mapping.unmap();
  }
}

function openMap(bpfRoot: string, name: string): BpfMap {
  const map = BpfMap.openPinned(path.join(bpfRoot, name), name);
  if (map !== undefined) return map;
  throw new WeirError('BPF_MAP_FAILED', `is not pinned in ${bpfRoot}`, {
    object: `map ${name}`,
    remedy: 'start the agent first, or name its --bpf-root',
  });
}
