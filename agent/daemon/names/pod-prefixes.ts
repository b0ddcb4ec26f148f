import { prefixKey, type Address, type Cidr } from '../../model/address.ts';

/** The prefixes that pods of the cluster have their addresses from: whether an address lies in one of them. */
export class PodPrefixes {
  #keys = new Set<string>();
  #lengths: readonly number[] = [];

  /** Makes these all there are. @returns whether that is news */
  replace(prefixes: readonly Cidr[]): boolean {
    const keys = new Set(prefixes.map(({ address, length }) => prefixKey(address.bytes, length)));
    if (keys.size === this.#keys.size && keys.isSubsetOf(this.#keys)) return false;
    this.#keys = keys;
    this.#lengths = [...new Set(prefixes.map(({ length }) => length))];
    return true;
  }

  has({ bytes }: Address): boolean {
    return this.#lengths.some((length) => length <= bytes.length * 8 && this.#keys.has(prefixKey(bytes, length)));
  }
}
