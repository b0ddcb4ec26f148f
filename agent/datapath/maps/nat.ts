import { formatAddress, type Address } from '../../model/address.ts';
import { protocolName } from '../../model/port.ts';
import { NAT_IN, NAT_OUT } from '../../../bpf/gen/constants.ts';
import { decode, encode, natEntry, natKey, type NatEntry, type NatKey } from '../../../bpf/gen/structs.ts';
import type { MapHandle } from '../../kernel/bpf-map.ts';
import type { Collection } from './conntrack.ts';
import { addressFromField, socketText, type DescribeEntry } from './dump.ts';

/** @param monotonic nanoseconds of CLOCK_MONOTONIC now */
export const describeNat =
  (monotonic: () => bigint): DescribeEntry =>
  (keyBytes, valueBytes) => {
    const key = decode(natKey, keyBytes);
    const entry = decode(natEntry, valueBytes);
    const address = (field: Uint8Array) => addressFromField(field, key.family);
    const [remote, local, other] = [address(key.remote), address(key.local), address(entry.addr)];
    const out = key.way === NAT_OUT;
    const service = out ? key.service : entry.service;
    const protocol = protocolName(key.protocol);
    const ends = out
      ? `${socketText(local, key.localPort)} -> ${socketText(remote, key.remotePort)}`
      : `${socketText(remote, key.remotePort)} -> ${socketText(local, key.localPort)}`;
    const expires = out ? undefined : Number((entry.expires - monotonic()) / 1_000_000_000n);
    const life = expires === undefined ? '' : ` expires=${expires}s`;
    const way = out ? 'SRC' : 'DST';
    return {
      key: `${protocol} ${out ? 'OUT' : 'IN'} ${ends}`,
      value: `XLATE_${way} ${socketText(other, entry.port)} service=${service}${life}`,
      fields: {
        direction: out ? 'out' : 'in',
        protocol: key.protocol,
        local: formatAddress(local),
        'local-port': key.localPort,
        remote: formatAddress(remote),
        'remote-port': key.remotePort,
        translated: formatAddress(other),
        'translated-port': entry.port,
        service,
        ...(expires !== undefined && { 'expires-in': expires }),
      },
    };
  };

/** `weir_nat`: what is deleted of a connection is both of its entries. Scans run in batches. */
export class NatMap {
  readonly #map: MapHandle;

  constructor(map: MapHandle) {
    this.#map = map;
  }

  /**
   * Deletes connections that have expired, and entries whose other one is gone or somebody else's.
   *
   * @param now nanoseconds of CLOCK_MONOTONIC
   */
  collect(now: bigint): Promise<Collection> {
    return this.#deleteWhere((_key, { expires }) => expires <= now);
  }

  /** Deletes the connections of pods that had these addresses: who has them next must not get their answers. */
  async deleteClients(addresses: readonly Address[]): Promise<void> {
    if (addresses.length === 0) return;
    const gone = new Set(addresses.map(textOf));
    await this.#deleteWhere(({ family }, { addr, service }) => service === 0 && gone.has(text(addr, family)));
  }

  /** Deletes the connections that go on under addresses which are no longer this node's. */
  async keepAddresses(own: readonly Address[]): Promise<void> {
    const kept = new Set(own.map(textOf));
    await this.#deleteWhere(({ family, local }) => !kept.has(text(local, family)));
  }

  /** Forgets every connection. Those that live go on from another port: to their servers they are other connections. */
  async flush(): Promise<number> {
    return (await this.#deleteWhere(() => true)).deleted;
  }

  /**
   * A scan takes a while, and a connection that is told to begin anew is lost: what looked dead is looked at again before it
   * goes, for it may have gone on, or have begun after the scan had passed one of its entries.
   *
   * @param dies hears of what answers look like, and whose they are
   */
  async #deleteWhere(dies: (key: NatKey, entry: NatEntry) => boolean): Promise<Collection> {
    const dead: Buffer[] = [];
    /** What is sent out, by its key, with what its answers have to look like. */
    const out = new Map<string, Buffer>();
    let alive = 0;
    for await (const { key: keyBytes, value } of this.#map.entries()) {
      const [key, entry] = [decode(natKey, keyBytes), decode(natEntry, value)];
      if (key.way === NAT_OUT) out.set(hex(keyBytes), otherKey(key, entry));
      else if (dies(key, entry)) dead.push(Buffer.from(keyBytes));
      else alive++;
    }
    const gone = dead.filter((key) => {
      const value = this.#map.lookup(key);
      return value !== undefined && dies(decode(natKey, key), decode(natEntry, value));
    });
    const going = new Set(gone.map(hex));
    for (const [key, answers] of out)
      if (going.has(hex(answers)) || !this.#leadsTo(answers, key)) gone.push(unhex(key));
    for (let at = 0; at < gone.length; at += BURY_AT) {
      await this.#map.deleteBatch(Buffer.concat(gone.slice(at, at + BURY_AT)));
    }
    return { alive, deleted: gone.length };
  }

  /** Whether what answers look like is there, and belongs to what is sent out by the key `out`. */
  #leadsTo(answers: Buffer, out: string): boolean {
    const value = this.#map.lookup(answers);
    return value !== undefined && hex(otherKey(decode(natKey, answers), decode(natEntry, value))) === out;
  }
}

/** How many entries to delete at a time: about 2 ms. */
const BURY_AT = 2048;

/** The key of the other entry of a connection. */
function otherKey(key: NatKey, entry: NatEntry): Buffer {
  const inward = key.way === NAT_OUT;
  const other = {
    ...{ ...key, local: entry.addr, localPort: entry.port },
    ...{ way: inward ? NAT_IN : NAT_OUT, service: inward ? 0 : entry.service },
  };
  return Buffer.from(encode(natKey, other));
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const unhex = (text: string): Buffer => Buffer.from(text, 'hex');
const textOf = ({ bytes }: Address): string => hex(bytes);
const text = (field: Uint8Array, family: number): string => hex(addressFromField(field, family).bytes);
