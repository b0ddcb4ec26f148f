import { formatAddress, type Address } from '../../model/address.ts';
import type { EndpointId } from '../../model/endpoint.ts';
import type { CollectionWatcher, LiveConnection } from '../node-kernel.ts';
import { NODE_ENDPOINT } from './name-poller.ts';
import type { Names } from './names.ts';

/** Tells names which of their addresses past their TTL a live connection still uses (S31). */
export class ConnectionWatch implements CollectionWatcher {
  readonly #names: Pick<Names, 'zombies' | 'collected'>;
  readonly #addressesOf: (endpoint: EndpointId) => readonly Address[];
  /** Remote ends that matter, with the local ends that were seen. */
  #seen = new Map<string, Set<string>>();
  /** How many zombies lived at the last collection. */
  #alive = 0;

  constructor(names: Pick<Names, 'zombies' | 'collected'>, addressesOf: (endpoint: EndpointId) => readonly Address[]) {
    this.#names = names;
    this.#addressesOf = addressesOf;
  }

  /** Addresses past their TTL that the last collection saw in use. */
  get alive(): number {
    return this.#alive;
  }

  begin(): ((connection: LiveConnection) => void) | undefined {
    this.#seen = new Map();
    for (const address of this.#names.zombies()) this.#seen.set(formatAddress(address), new Set());
    if (this.#seen.size === 0) return undefined;
    return ({ local, remote }) => this.#seen.get(formatAddress(remote))?.add(formatAddress(local));
  }

  end(at: number): void {
    const seen = this.#seen;
    this.#alive = 0;
    this.#names.collected(at, (endpoint, address) => {
      const locals = seen.get(formatAddress(address));
      const alive =
        // What the node asked for, any endpoint may use.
        endpoint === NODE_ENDPOINT
          ? (locals?.size ?? 0) > 0
          : this.#addressesOf(endpoint).some((own) => locals?.has(formatAddress(own)) === true);
      if (alive) this.#alive++;
      return alive;
    });
    this.#seen = new Map();
  }
}
