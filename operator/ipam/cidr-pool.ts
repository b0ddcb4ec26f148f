/** One family of the cluster pool: prefixes cut into equal parts, one for each node. Pure. */
import { cidrCovers, formatCidr, type Address, type Cidr } from '../../agent/model/address.ts';
import type { PoolConfig } from '../config.ts';

export class CidrPool {
  readonly family: 4 | 6;
  readonly #config: PoolConfig;
  readonly #taken = new Map<string, Cidr>();
  /** Taken prefixes that are not of the usual length: whatever overlaps them is taken too. */
  readonly #odd = new Map<string, Cidr>();
  /** Where the search goes on: what was given back is not given out again at once. */
  #next = 0n;

  constructor(config: PoolConfig) {
    this.#config = config;
    this.family = config.cidrs[0]!.address.family;
  }

  /** How many parts there are, and how many are taken. */
  get size(): { readonly total: bigint; readonly taken: number } {
    return { total: this.#total, taken: this.#taken.size + this.#odd.size };
  }

  get #total(): bigint {
    return this.#config.cidrs.reduce((sum, cidr) => sum + this.#partsOf(cidr), 0n);
  }

  #partsOf(cidr: Cidr): bigint {
    return 1n << BigInt(this.#config.nodeLength - cidr.length);
  }

  /** Whether a prefix lies in the pool. */
  covers(cidr: Cidr): boolean {
    return this.#config.cidrs.some((outer) => cidrCovers(outer, cidr));
  }

  /** Whether nothing that is taken overlaps a prefix. */
  isFree(cidr: Cidr): boolean {
    if (this.#taken.has(formatCidr(cidr))) return false;
    if (cidr.length !== this.#config.nodeLength)
      return ![...this.#taken.values(), ...this.#odd.values()].some((other) => overlaps(cidr, other));
    return ![...this.#odd.values()].some((other) => overlaps(cidr, other));
  }

  take(cidr: Cidr): void {
    (cidr.length === this.#config.nodeLength ? this.#taken : this.#odd).set(formatCidr(cidr), cidr);
  }

  /** Takes a free part; undefined when there is none. */
  allocate(): Cidr | undefined {
    const total = this.#total;
    for (let tried = 0n; tried < total; tried++) {
      const part = this.#part((this.#next + tried) % total);
      if (!this.isFree(part)) continue;
      this.#next = (this.#next + tried + 1n) % total;
      this.take(part);
      return part;
    }
    return undefined;
  }

  /** The part of a number, counted through all prefixes. */
  #part(index: bigint): Cidr {
    let rest = index;
    for (const cidr of this.#config.cidrs) {
      const parts = this.#partsOf(cidr);
      if (rest < parts)
        return { address: offset(cidr.address, rest, this.#config.nodeLength), length: this.#config.nodeLength };
      rest -= parts;
    }
    throw new RangeError(`part ${index} of ${this.#total}`);
  }
}

export const overlaps = (a: Cidr, b: Cidr): boolean => cidrCovers(a, b) || cidrCovers(b, a);

/** `address` moved on by `count` prefixes of `length` bits. */
function offset({ family, bytes }: Address, count: bigint, length: number): Address {
  const bits = bytes.length * 8;
  const base = bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  const moved = base + (count << BigInt(bits - length));
  return { family, bytes: Uint8Array.from(bytes, (_, i) => Number((moved >> BigInt(bits - 8 * (i + 1))) & 255n)) };
}
