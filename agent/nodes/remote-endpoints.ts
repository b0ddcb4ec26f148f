import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Ipcache, IpcacheRecord, IpcacheRemoval } from '../ipcache/ipcache.ts';
import type { IpcacheSource } from '../ipcache/source.ts';
import { prefixKey, prefixOfKey, type Address, type Cidr } from '../model/address.ts';
import type { IdentityId } from '../model/identity.ts';
import { nodeAddress } from '../model/node.ts';
import type { NamedPort } from '../policy/contract.ts';
import type { NodeChange, NodeSource } from './node-table.ts';

/** An endpoint as some agent announces it. */
export interface AnnouncedEndpoint {
  readonly namespace: string;
  /** Of the pod. */
  readonly name: string;
  readonly identity: IdentityId;
  readonly addresses: readonly Address[];
  /** Of the node it runs on; undefined while that is not known. */
  readonly nodeAddress: Address | undefined;
  readonly namedPorts: readonly NamedPort[];
}

export interface RemoteEndpointsOptions {
  readonly nodes: NodeSource;
  readonly ipcache: Ipcache;
  /** Through whom endpoints are announced. */
  readonly source: Extract<IpcacheSource, 'kvstore' | 'custom-resource'>;
  /** Family of the addresses between which packets are tunnelled; undefined where they are routed. */
  readonly tunnelFamily: 4 | 6 | undefined;
  /** Whether an address is this node's own: endpoints there are known at first hand. */
  readonly isOwnAddress: (address: Address) => boolean;
  /** Resolves when every endpoint's policy map knows the identities that exist now. */
  readonly settlePolicies: () => Promise<void>;
  /** The ports by name of an owner's endpoints: what it said before is void. */
  readonly setNamedPorts: (
    owner: string,
    endpoints: readonly Pick<AnnouncedEndpoint, 'identity' | 'namedPorts'>[],
  ) => void;
}

/** A node as endpoints name it: by one of its addresses. */
interface Place {
  readonly key: string;
  readonly address: Address;
  /** Objects that announce endpoints there. */
  readonly owners: Set<string>;
}

/** What is kept of an announced endpoint: little, for there are tens of thousands. */
interface Kept {
  readonly namespace: string;
  readonly name: string;
  readonly identity: IdentityId;
  /** Keys of the prefixes that are its addresses. */
  readonly keys: readonly string[];
  readonly place: Place | undefined;
}

/** What one object announces, and what the ipcache was told of it. */
interface Announcement {
  endpoints: readonly Kept[];
  told: readonly RemoteRecord[];
}

/** What the ipcache is told of one address; what can be worked out is not kept. */
class RemoteRecord implements IpcacheRecord {
  readonly source: IpcacheSource;
  readonly owner: string;
  readonly key: string;
  readonly endpoint: Kept;
  declare readonly tunnelEndpoint?: Address;

  constructor(source: IpcacheSource, owner: string, key: string, endpoint: Kept, tunnelEndpoint: Address | undefined) {
    this.source = source;
    this.owner = owner;
    this.key = key;
    this.endpoint = endpoint;
    if (tunnelEndpoint !== undefined) this.tunnelEndpoint = tunnelEndpoint;
  }

  get prefix(): Cidr {
    return prefixOfKey(this.key);
  }

  get identity(): IdentityId {
    return this.endpoint.identity;
  }

  get namespace(): string {
    return this.endpoint.namespace;
  }

  get podName(): string {
    return this.endpoint.name;
  }
}

/** Objects of which the ipcache is told in one turn of the event loop. */
const CHUNK = 1_000;

/**
 * Endpoints of other nodes, in the ipcache. A packet must not meet an identity that a policy map does not know yet, so the
 * maps follow first and the ipcache after them.
 */
export class RemoteEndpoints {
  readonly #options: RemoteEndpointsOptions;
  readonly #announcements = new Map<string, Announcement>();
  /** By an address of the node. */
  readonly #places = new Map<string, Place>();
  /** Names of the nodes, by each of their addresses. */
  readonly #nodeOf = new Map<string, string>();
  readonly #dirty = new Set<string>();
  #begun = false;
  #pending = false;
  #work: Promise<void> = Promise.resolve();
  #stop: (() => void) | undefined;

  constructor(options: RemoteEndpointsOptions) {
    this.#options = options;
  }

  /** Addresses of endpoints of other nodes that are announced now. */
  get size(): number {
    let count = 0;
    for (const { told } of this.#announcements.values()) count += told.length;
    return count;
  }

  /** Whether an endpoint, of any node, is announced with the identity. */
  announces(identity: IdentityId): boolean {
    for (const { endpoints } of this.#announcements.values())
      if (endpoints.some((endpoint) => endpoint.identity === identity)) return true;
    return false;
  }

  /** @param owner the object that announces them; what it said before is void */
  set(owner: string, endpoints: readonly AnnouncedEndpoint[]): void {
    const announcement = this.#announcements.get(owner) ?? { endpoints: [], told: [] };
    for (const { place } of announcement.endpoints) this.#leave(place, owner);
    announcement.endpoints = endpoints.map((endpoint) => this.#kept(endpoint, owner));
    this.#announcements.set(owner, announcement);
    const remote = endpoints.filter((_, i) => this.#isRemote(announcement.endpoints[i]!));
    this.#options.setNamedPorts(
      owner,
      remote.map(({ identity, namedPorts }) => ({ identity, namedPorts })),
    );
    this.#touch(owner);
  }

  /** Everything that existed at the start is known, policies too. Resolves when the ipcache knows it. */
  begin(): Promise<void> {
    this.#begun = true;
    this.#stop = this.#options.nodes.subscribe((changes) => this.#nodesChanged(changes));
    this.#schedule();
    return this.#work;
  }

  stop(): void {
    this.#stop?.();
    this.#begun = false;
  }

  #nodesChanged(changes: readonly NodeChange[]): void {
    for (const { name, before, after } of changes) {
      const [gone, there] = [before, after].map((node) => (node?.addresses ?? []).map(({ address }) => keyOf(address)));
      for (const key of gone!) this.#nodeOf.delete(key);
      for (const key of there!) this.#nodeOf.set(key, name);
      for (const key of [...gone!, ...there!]) {
        for (const owner of this.#places.get(key)?.owners ?? []) this.#touch(owner);
      }
    }
  }

  #touch(owner: string): void {
    this.#dirty.add(owner);
    this.#schedule();
  }

  /** Changes of one turn go together, and one after the other. */
  #schedule(): void {
    if (!this.#begun || this.#pending || this.#dirty.size === 0) return;
    this.#pending = true;
    this.#work = this.#work.then(() => this.#tell());
  }

  async #tell(): Promise<void> {
    const { settlePolicies, ipcache } = this.#options;
    // Of very many, a part in each turn: nobody else is to wait for long, and their garbage not to pile up.
    const gone: IpcacheRemoval[] = [];
    while (this.#dirty.size > CHUNK) {
      await settlePolicies();
      const { upserts, removals } = this.#take(CHUNK);
      ipcache.apply(upserts, []);
      gone.push(...removals);
      await nextTurn();
    }
    await settlePolicies();
    this.#pending = false;
    const { upserts, removals } = this.#take(Infinity);
    // An address that went to another object is not to be nobody's in between: what is gone comes last.
    ipcache.apply(upserts, [...gone.filter((removal) => !this.#isTold(removal)), ...removals]);
  }

  /** What has become of objects that changed, of so many at most. */
  #take(most: number): { upserts: readonly IpcacheRecord[]; removals: readonly IpcacheRemoval[] } {
    const upserts: IpcacheRecord[] = [];
    const removals: IpcacheRemoval[] = [];
    for (const owner of this.#dirty) {
      if (most-- <= 0) break;
      this.#dirty.delete(owner);
      const announcement = this.#announcements.get(owner);
      if (announcement === undefined) continue;
      const before = announcement.told;
      announcement.told = this.#records(owner, announcement.endpoints);
      upserts.push(...announcement.told);
      removals.push(...before.filter((record) => !this.#isTold(record)));
      if (announcement.endpoints.length === 0) this.#announcements.delete(owner);
    }
    return { upserts, removals };
  }

  #isTold({ owner, key }: Pick<IpcacheRemoval, 'owner' | 'key'>): boolean {
    return this.#announcements.get(owner)?.told.some((record) => record.key === key) === true;
  }

  #records(owner: string, endpoints: readonly Kept[]): readonly RemoteRecord[] {
    const { source } = this.#options;
    return endpoints
      .filter((endpoint) => this.#isRemote(endpoint))
      .flatMap((endpoint) => {
        const tunnelEndpoint = this.#tunnelTo(endpoint.place);
        return endpoint.keys.map((key) => new RemoteRecord(source, owner, key, endpoint, tunnelEndpoint));
      });
  }

  #isRemote({ place }: Kept): boolean {
    return place === undefined || !this.#options.isOwnAddress(place.address);
  }

  /** The node may announce another address to be reached at than the one that its endpoints name. */
  #tunnelTo(place: Place | undefined): Address | undefined {
    const { tunnelFamily, nodes } = this.#options;
    if (tunnelFamily === undefined || place === undefined) return undefined;
    const name = this.#nodeOf.get(place.key);
    const node = name === undefined ? undefined : nodes.get(name);
    if (node !== undefined) return nodeAddress(node, tunnelFamily);
    return place.address.family === tunnelFamily ? place.address : undefined;
  }

  #kept({ namespace, name, identity, addresses, nodeAddress: node }: AnnouncedEndpoint, owner: string): Kept {
    return { namespace, name, identity, keys: addresses.map(keyOf), place: node && this.#enter(node, owner) };
  }

  #enter(address: Address, owner: string): Place {
    const key = keyOf(address);
    const place = this.#places.get(key) ?? { key, address, owners: new Set() };
    place.owners.add(owner);
    this.#places.set(key, place);
    return place;
  }

  #leave(place: Place | undefined, owner: string): void {
    place?.owners.delete(owner);
    if (place?.owners.size === 0) this.#places.delete(place.key);
  }
}

function keyOf({ bytes }: Address): string {
  return prefixKey(bytes, bytes.length * 8);
}
