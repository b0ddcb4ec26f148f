import type { Ipcache, IpcacheRecord } from '../ipcache/ipcache.ts';
import { formatAddress, fullPrefix, type Address } from '../model/address.ts';
import { RESERVED_IDENTITY } from '../model/identity.ts';

const SOURCE = 'kube-apiserver';

/** Addresses of the Kubernetes API server, which have an identity of their own wherever it runs. */
export class ApiServers {
  readonly #ipcache: Ipcache;
  /** By the object that names them. */
  readonly #named = new Map<string, readonly Address[]>();

  constructor(ipcache: Ipcache) {
    this.#ipcache = ipcache;
  }

  /** @param owner the object that names them; what it said before is void */
  set(owner: string, addresses: readonly Address[]): void {
    const kept = new Set(addresses.map(formatAddress));
    const gone = (this.#named.get(owner) ?? []).filter((address) => !kept.has(formatAddress(address)));
    if (addresses.length === 0) this.#named.delete(owner);
    else this.#named.set(owner, addresses);
    this.#ipcache.apply(
      addresses.map((address): IpcacheRecord => ({
        prefix: fullPrefix(address),
        identity: RESERVED_IDENTITY['kube-apiserver'],
        source: SOURCE,
        owner,
      })),
      gone.map((address) => ({ prefix: fullPrefix(address), source: SOURCE, owner })),
    );
  }
}
