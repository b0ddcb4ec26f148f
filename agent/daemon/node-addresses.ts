import { networkInterfaces } from 'node:os';
import { worldLabel, type Families } from '../identity/cidr-labels.ts';
import type { Ipcache, IpcacheRecord } from '../ipcache/ipcache.ts';
import { addressEquals, formatAddress, parseAddress, parseCidr, type Address } from '../model/address.ts';
import type { Clock } from '../model/clock.ts';
import { RESERVED_IDENTITY, type ReservedName } from '../model/identity.ts';

/** How often the addresses of the node are looked at, in milliseconds. */
const PERIOD_MS = 5_000;

const OWNER = 'node';

/** Keeps the node's own addresses in the ipcache as the host, and all the rest as the world (S1). */
export class NodeAddresses {
  readonly #ipcache: Ipcache;
  readonly #clock: Clock;
  /** Addresses that are the host's whatever the interfaces say: the routers of the pods. */
  readonly #always: readonly Address[];
  readonly #list: () => readonly Address[];
  readonly #onChange: (addresses: readonly Address[]) => void;
  #known: readonly Address[] = [];
  #cancel: (() => void) | undefined;

  constructor(options: {
    readonly ipcache: Ipcache;
    readonly clock: Clock;
    readonly always: readonly Address[];
    readonly list?: () => readonly Address[];
    /** Hears of the node's addresses when there are others than before. */
    readonly onChange?: (addresses: readonly Address[]) => void;
  }) {
    this.#ipcache = options.ipcache;
    this.#clock = options.clock;
    this.#always = options.always;
    this.#list = options.list ?? listNodeAddresses;
    this.#onChange = options.onChange ?? (() => undefined);
  }

  /** Looks now, and from now on. */
  start(families: Families): void {
    this.#ipcache.upsert(...worlds(families));
    this.update();
    this.#cancel = this.#clock.after(PERIOD_MS, () => this.#tick());
  }

  stop(): void {
    this.#cancel?.();
  }

  /** Addresses of the node, as last seen. */
  get addresses(): readonly Address[] {
    return this.#known;
  }

  update(): void {
    const now = [...this.#always, ...this.#list().filter((a) => !this.#always.some((b) => addressEquals(a, b)))];
    const gone = this.#known.filter((address) => !now.some((other) => addressEquals(address, other)));
    const news = gone.length > 0 || now.length !== this.#known.length;
    this.#known = now;
    this.#ipcache.apply(
      now.map((address) => record(address, address.bytes.length * 8, 'host')),
      gone.map((address) => ({
        prefix: { address, length: address.bytes.length * 8 },
        source: 'reserved',
        owner: OWNER,
      })),
    );
    if (news) this.#onChange(now);
  }

  #tick(): void {
    this.update();
    this.#cancel = this.#clock.after(PERIOD_MS, () => this.#tick());
  }
}

/** Addresses of all interfaces of the agent's network namespace, but those that mean something on one link only. */
export function listNodeAddresses(): readonly Address[] {
  return Object.values(networkInterfaces())
    .flatMap((interfaces) => interfaces ?? [])
    .filter(({ internal }) => !internal)
    .map(({ address }) => parseAddress(address.replace(/%.*$/, '')))
    .filter((address) => !formatAddress(address).startsWith('fe80:'));
}

function worlds(families: Families): IpcacheRecord[] {
  const all = (text: string): IpcacheRecord => {
    const { address } = parseCidr(text);
    return record(address, 0, worldLabel(address.family, families).key as ReservedName);
  };
  return [all('0.0.0.0/0'), all('::/0')];
}

function record(address: Address, length: number, name: ReservedName): IpcacheRecord {
  return { prefix: { address, length }, identity: RESERVED_IDENTITY[name], source: 'reserved', owner: OWNER };
}
