import { policyKeyText, type MapStateChanges, type PolicyEntry, type PolicyKey } from '../model/mapstate.ts';

/** What the kernel has to be told of an endpoint's policy. */
export type PolicyWork =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'changes'; readonly changes: MapStateChanges }
  /** The whole map. */
  | { readonly kind: 'replace' };

/** Changes of a map state that the kernel has not seen yet, each key once. */
export class PendingPolicy {
  #changes = new Map<string, { readonly key: PolicyKey; readonly entry: PolicyEntry | undefined }>();
  #whole = false;

  /** Whether the kernel knows all there is to know. */
  get isEmpty(): boolean {
    return !this.#whole && this.#changes.size === 0;
  }

  add({ upserts, deletes }: MapStateChanges): void {
    if (this.#whole) return;
    for (const key of deletes) this.#changes.set(policyKeyText(key), { key, entry: undefined });
    for (const [key, entry] of upserts) this.#changes.set(policyKeyText(key), { key, entry });
  }

  /** What the kernel holds is not known: only the whole map will do. */
  invalidate(): void {
    this.#whole = true;
    this.#changes.clear();
  }

  /** Hands out what is due; it counts as done from here on. */
  take(): PolicyWork {
    const changes = [...this.#changes.values()];
    const whole = this.#whole;
    this.#whole = false;
    this.#changes = new Map();
    if (whole) return { kind: 'replace' };
    if (changes.length === 0) return { kind: 'nothing' };
    const upserts: [PolicyKey, PolicyEntry][] = [];
    const deletes: PolicyKey[] = [];
    for (const { key, entry } of changes) {
      if (entry === undefined) deletes.push(key);
      else upserts.push([key, entry]);
    }
    return { kind: 'changes', changes: { upserts, deletes } };
  }
}
