import { mergeChanges, type MapStateChanges } from '../model/mapstate.ts';

/** What the kernel has to be told of an endpoint's policy. */
export type PolicyWork =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'changes'; readonly changes: MapStateChanges }
  /** The whole map. */
  | { readonly kind: 'replace' };

/** Changes of a map state that the kernel has not seen yet. */
export class PendingPolicy {
  #changes: MapStateChanges[] = [];
  #whole = false;

  /** Whether the kernel knows all there is to know. */
  get isEmpty(): boolean {
    return !this.#whole && this.#changes.length === 0;
  }

  add(changes: MapStateChanges): void {
    if (!this.#whole && changes.size > 0) this.#changes.push(changes);
  }

  /** What the kernel holds is not known: only the whole map will do. */
  invalidate(): void {
    this.#whole = true;
    this.#changes = [];
  }

  /** Hands out what is due, each key once; it counts as done from here on. */
  take(): PolicyWork {
    const changes = this.#changes;
    const whole = this.#whole;
    this.#whole = false;
    this.#changes = [];
    if (whole) return { kind: 'replace' };
    return changes.length === 0 ? { kind: 'nothing' } : { kind: 'changes', changes: mergeChanges(changes) };
  }
}
