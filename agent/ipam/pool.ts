import { formatAddress, formatCidr, type Address, type Cidr } from '../model/address.ts';
import { WeirError } from '../model/errors.ts';

/** Widest host part that is used, in bits: 2^31 addresses are more than any node gives out. */
const MAX_HOST_BITS = 31;

/**
 * The addresses of one pod CIDR and who owns each. Addresses are given out in turn, so that a freed one rests as long as
 * possible: caches elsewhere may still hold it.
 */
export class AddressPool {
  readonly cidr: Cidr;
  readonly router: Address;
  readonly #hostBits: number;
  /** Offset in the CIDR → owner. */
  readonly #owners = new Map<number, string>();
  /** How many of the owned offsets belong to the pool itself: network, router, broadcast. */
  readonly #own: number;
  #cursor = 0;

  /** @throws WeirError CONFIG_INVALID when the prefix leaves no address for a pod. */
  constructor(cidr: Cidr) {
    const bits = cidr.address.bytes.length * 8 - cidr.length;
    if (bits < 2) {
      throw new WeirError('CONFIG_INVALID', `pod CIDR ${formatCidr(cidr)} has no room for pods`, {
        remedy: 'give a prefix of at most /30 or /126',
      });
    }
    this.cidr = cidr;
    this.#hostBits = Math.min(bits, MAX_HOST_BITS);
    this.#owners.set(0, 'network');
    this.#owners.set(1, 'router');
    this.router = this.#address(1);
    // IPv6 has no broadcast address.
    if (cidr.address.family === 4) this.#owners.set(2 ** this.#hostBits - 1, 'broadcast');
    this.#own = this.#owners.size;
  }

  /** How many addresses pods can have in all. */
  get capacity(): number {
    return 2 ** this.#hostBits - this.#own;
  }

  get used(): number {
    return this.#owners.size - this.#own;
  }

  /**
   * The next free address.
   *
   * @throws WeirError IPAM_EXHAUSTED
   */
  allocateNext(owner: string): Address {
    if (this.used >= this.capacity) {
      throw new WeirError('IPAM_EXHAUSTED', `all ${this.capacity} addresses of ${formatCidr(this.cidr)} are in use`);
    }
    const end = 2 ** this.#hostBits;
    while (this.#owners.has(this.#cursor)) this.#cursor = (this.#cursor + 1) % end;
    const offset = this.#cursor;
    this.#owners.set(offset, owner);
    this.#cursor = (offset + 1) % end;
    return this.#address(offset);
  }

  /**
   * This very address.
   *
   * @throws WeirError IPAM_OUT_OF_RANGE, IPAM_IN_USE
   */
  allocate(address: Address, owner: string): void {
    const offset = this.#offset(address);
    if (offset === undefined) {
      throw new WeirError('IPAM_OUT_OF_RANGE', `${formatAddress(address)} is outside ${formatCidr(this.cidr)}`);
    }
    const holder = this.#owners.get(offset);
    if (holder !== undefined) {
      throw new WeirError('IPAM_IN_USE', `${formatAddress(address)} belongs to ${holder}`);
    }
    this.#owners.set(offset, owner);
  }

  /** Gives an address back; false when nobody had it. The pool's own addresses stay. */
  release(address: Address): boolean {
    const offset = this.#offset(address);
    if (offset === undefined || this.#isOwn(offset)) return false;
    return this.#owners.delete(offset);
  }

  ownerOf(address: Address): string | undefined {
    const offset = this.#offset(address);
    return offset === undefined ? undefined : this.#owners.get(offset);
  }

  contains(address: Address): boolean {
    return this.#offset(address) !== undefined;
  }

  /** Address and owner of all that is given out, ascending. */
  list(): { readonly address: Address; readonly owner: string }[] {
    return [...this.#owners]
      .sort(([a], [b]) => a - b)
      .map(([offset, owner]) => ({ address: this.#address(offset), owner }));
  }

  #isOwn(offset: number): boolean {
    return offset <= 1 || (this.cidr.address.family === 4 && offset === 2 ** this.#hostBits - 1);
  }

  #address(offset: number): Address {
    const bytes = Uint8Array.from(this.cidr.address.bytes);
    const view = new DataView(bytes.buffer);
    const at = bytes.length - 4;
    view.setUint32(at, (view.getUint32(at) | offset) >>> 0);
    return { family: this.cidr.address.family, bytes };
  }

  /** Undefined outside of what the pool gives out. */
  #offset(address: Address): number | undefined {
    if (address.family !== this.cidr.address.family) return undefined;
    const base = this.cidr.address.bytes;
    const at = base.length - 4;
    const { bytes } = address;
    for (let i = 0; i < at; i++) if (bytes[i] !== base[i]) return undefined;
    const tail = (from: Uint8Array): number => new DataView(from.buffer, from.byteOffset).getUint32(at);
    const offset = tail(bytes) - tail(base);
    return offset >= 0 && offset < 2 ** this.#hostBits ? offset : undefined;
  }
}
