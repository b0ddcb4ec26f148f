/**
 * Which endpoint stands in which slice. An endpoint stays in its slice for as long as it lives, so that a change writes one
 * slice; a new one goes into the fullest slice of its namespace that has room. Pure.
 */
import type { JsonObject } from '../../agent/k8s/apiserver/client.ts';

/** An endpoint as slices have it: its name, and what other nodes need to know of it. */
export type SliceEndpoint = JsonObject & { readonly name: string };

export interface Slice {
  readonly namespace: string;
  readonly endpoints: ReadonlyMap<string, SliceEndpoint>;
}

interface MutableSlice {
  readonly namespace: string;
  readonly endpoints: Map<string, SliceEndpoint>;
}

export class SliceBook {
  readonly #size: number;
  readonly #newName: () => string;
  readonly #onDirty: (slice: string) => void;
  readonly #slices = new Map<string, MutableSlice>();
  /** Slice of each endpoint, by `namespace/name`. */
  readonly #places = new Map<string, string>();

  /**
   * @param size most endpoints in a slice
   * @param newName a name that no slice has
   * @param onDirty called with the name of a slice that must be written: deleted, when it is no longer in the book
   */
  constructor(size: number, newName: () => string, onDirty: (slice: string) => void) {
    this.#size = size;
    this.#newName = newName;
    this.#onDirty = onDirty;
  }

  get endpoints(): number {
    return this.#places.size;
  }

  get(slice: string): Slice | undefined {
    return this.#slices.get(slice);
  }

  /**
   * Takes in a slice as it stands at the API server. Who else wrote it does not matter: an endpoint that stands in two
   * slices keeps the one whose name comes first, whoever decides, so that two operators do not undo each other's work.
   */
  observe(name: string, namespace: string, endpoints: readonly SliceEndpoint[]): void {
    const known = this.#slices.get(name);
    if (known !== undefined) {
      if (!same(known, endpoints)) this.#onDirty(name);
      return;
    }
    const slice: MutableSlice = { namespace, endpoints: new Map() };
    this.#slices.set(name, slice);
    for (const endpoint of endpoints) {
      const key = `${namespace}/${endpoint.name}`;
      const other = this.#places.get(key);
      if (other !== undefined && other < name) continue;
      if (other !== undefined) this.#takeOut(other, endpoint.name);
      slice.endpoints.set(endpoint.name, endpoint);
      this.#places.set(key, name);
    }
    if (slice.endpoints.size === 0) this.#slices.delete(name);
    if (slice.endpoints.size < endpoints.length || endpoints.length === 0) this.#onDirty(name);
  }

  /** Somebody deleted a slice. */
  lost(name: string): void {
    if (this.#slices.has(name)) this.#onDirty(name);
  }

  put(namespace: string, endpoint: SliceEndpoint): void {
    const key = `${namespace}/${endpoint.name}`;
    const place = this.#places.get(key) ?? this.#roomIn(namespace);
    const slice = this.#slices.get(place)!;
    const before = slice.endpoints.get(endpoint.name);
    if (before !== undefined && JSON.stringify(before) === JSON.stringify(endpoint)) return;
    slice.endpoints.set(endpoint.name, endpoint);
    this.#places.set(key, place);
    this.#onDirty(place);
  }

  remove(namespace: string, name: string): void {
    const key = `${namespace}/${name}`;
    const place = this.#places.get(key);
    if (place === undefined) return;
    this.#places.delete(key);
    this.#takeOut(place, name);
  }

  /** Removes every endpoint that does not exist. */
  retain(exists: (namespace: string, name: string) => boolean): void {
    for (const key of [...this.#places.keys()]) {
      const slash = key.indexOf('/');
      const [namespace, name] = [key.slice(0, slash), key.slice(slash + 1)];
      if (!exists(namespace, name)) this.remove(namespace, name);
    }
  }

  #takeOut(place: string, name: string): void {
    const slice = this.#slices.get(place)!;
    slice.endpoints.delete(name);
    if (slice.endpoints.size === 0) this.#slices.delete(place);
    this.#onDirty(place);
  }

  #roomIn(namespace: string): string {
    let best: { readonly name: string; readonly count: number } | undefined;
    for (const [name, slice] of this.#slices) {
      const count = slice.endpoints.size;
      if (slice.namespace === namespace && count < this.#size && count > (best?.count ?? -1)) best = { name, count };
    }
    if (best !== undefined) return best.name;
    const name = this.#newName();
    this.#slices.set(name, { namespace, endpoints: new Map() });
    return name;
  }
}

function same(slice: Slice, endpoints: readonly SliceEndpoint[]): boolean {
  if (slice.endpoints.size !== endpoints.length) return false;
  return endpoints.every((endpoint) => JSON.stringify(slice.endpoints.get(endpoint.name)) === JSON.stringify(endpoint));
}
