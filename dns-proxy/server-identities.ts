/** Whose address a server has, as the kernel's ipcache says: the datapath judged by the same. */
import { IDENTITY_WORLD, IDENTITY_WORLD_IPV4, IDENTITY_WORLD_IPV6 } from '../bpf/gen/constants.ts';
import type { Address } from '../agent/model/address.ts';
import { addressKey, type AddressKey } from './address-key.ts';

/** The kernel's ipcache, as far as the proxy uses it. */
export interface IdentitySource {
  /** Identity by the longest prefix; undefined when the ipcache knows nothing of the address. */
  lookup(address: Address): number | undefined;
  /** Another number after every change. */
  revision(): bigint;
  /** An agent has come, perhaps with another ipcache than the one before. */
  reopen?(): void;
}

const WORLD = { 4: IDENTITY_WORLD_IPV4, 6: IDENTITY_WORLD_IPV6 } as const;
const WORLDS: ReadonlySet<number> = new Set([IDENTITY_WORLD, IDENTITY_WORLD_IPV4, IDENTITY_WORLD_IPV6]);
const CAPACITY = 4096;

/** Remembers what was looked up for as long as nothing has changed. */
export class ServerIdentities {
  readonly #source: IdentitySource;
  readonly #known = new Map<AddressKey, number>();
  #revision = -1n;

  constructor(source: IdentitySource) {
    this.#source = source;
  }

  reopen(): void {
    this.#source.reopen?.();
    this.#known.clear();
  }

  /** What the ipcache does not know is the world. */
  of(address: Address): number {
    // The revision first: what is looked up after it is at least as new (weir_revision, bpf/lib/types.h).
    const revision = this.#source.revision();
    if (revision !== this.#revision || this.#known.size >= CAPACITY) {
      this.#known.clear();
      this.#revision = revision;
    }
    const key = addressKey(address);
    let identity = this.#known.get(key);
    if (identity === undefined) {
      identity = this.#source.lookup(address) || WORLD[address.family];
      this.#known.set(key, identity);
    }
    return identity;
  }
}

/** Whether an identity says only that nobody in particular is at an address. */
export function isWorld(identity: number): boolean {
  return WORLDS.has(identity);
}
