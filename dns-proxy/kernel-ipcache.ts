/** The kernel's ipcache through its pins: it outlives the agent, and so does what the proxy knows of servers. */
import path from 'node:path';
import { IPCACHE_STATIC_BITS } from '../bpf/gen/constants.ts';
import { decode, encode, endpointState, ipcacheInfo, ipcacheKey, u32 } from '../bpf/gen/structs.ts';
import { encodeIpcacheKey, encodeIpcacheValue } from '../agent/datapath/maps/ipcache.ts';
import { RevisionMap } from '../agent/datapath/maps/revision.ts';
import { BpfMap } from '../agent/kernel/bpf-map.ts';
import type { Address } from '../agent/model/address.ts';
import { WeirError } from '../agent/model/errors.ts';
import { identityId } from '../agent/model/identity.ts';
import type { IdentitySource } from './server-identities.ts';

const NODE = encode(u32, 0);

export class PinnedIpcache implements IdentitySource, Disposable {
  readonly #bpfRoot: string;
  #ipcache: BpfMap;
  #revisions: BpfMap;

  /** @throws WeirError BPF_MAP_FAILED when there is no such node */
  constructor(bpfRoot: string) {
    this.#bpfRoot = bpfRoot;
    [this.#ipcache, this.#revisions] = openMaps(bpfRoot);
  }

  reopen(): void {
    const [ipcache, revisions] = openMaps(this.#bpfRoot);
    this[Symbol.dispose]();
    this.#ipcache = ipcache;
    this.#revisions = revisions;
  }

  lookup({ family, bytes }: Address): number | undefined {
    const prefixlen = IPCACHE_STATIC_BITS + bytes.length * 8;
    const found = this.#ipcache.lookup(encode(ipcacheKey, { prefixlen, family, addr: bytes }));
    return found === undefined ? undefined : decode(ipcacheInfo, found).identity;
  }

  revision(): bigint {
    const state = this.#revisions.lookup(NODE);
    return state === undefined ? 0n : decode(endpointState, state).revision;
  }

  /** Gives one address an identity: the map first, then the revision (bpf/README.md). @throws WeirError BPF_MAP_FULL */
  write(address: Address, identity: number): void {
    const prefix = { address, length: address.bytes.length * 8 };
    this.#ipcache.update(encodeIpcacheKey(prefix), encodeIpcacheValue({ prefix, identity: identityId(identity) }));
    new RevisionMap(this.#revisions).raiseNode();
  }

  [Symbol.dispose](): void {
    this.#ipcache.close();
    this.#revisions.close();
  }
}

function openMaps(bpfRoot: string): [BpfMap, BpfMap] {
  using undo = new DisposableStack();
  const maps: [BpfMap, BpfMap] = [
    undo.use(openMap(bpfRoot, 'weir_ipcache')),
    undo.use(openMap(bpfRoot, 'weir_revision')),
  ];
  undo.move();
  return maps;
}

function openMap(bpfRoot: string, name: string): BpfMap {
  const map = BpfMap.openPinned(path.join(bpfRoot, name), name);
  if (map !== undefined) return map;
  throw new WeirError('BPF_MAP_FAILED', `is not pinned in ${bpfRoot}`, {
    object: `map ${name}`,
    remedy: 'start the agent first, or name its --bpf-root',
  });
}
