/**
 * Something outside the process that is brought to a desired state: a kernel map, a set of routes. Every method is
 * idempotent: updating to what is already there and deleting what is absent succeed (architecture.md §4.6).
 */
export interface Target<T, K = T> {
  /** Creates or overwrites each object. A rejection says nothing about which of them were applied. */
  update(objects: readonly T[]): Promise<void>;
  /** Removes each key; an absent one is fine. */
  delete(keys: readonly K[]): Promise<void>;
  /** Removes everything that is not in `desired`; adds nothing. */
  prune(desired: readonly T[]): Promise<void>;
}

/** How a {@link Target}'s objects are told apart. */
export interface ObjectType<T, K> {
  keyOf(object: T): K;
  /** Equal for equal keys, and only for them. */
  keyText(key: K): string;
  /** Whether `b` over `a` would change nothing in the target. */
  equals(a: T, b: T): boolean;
}

/** Where one object stands. */
export type ObjectStatus =
  | { readonly state: 'pending' }
  | { readonly state: 'done' }
  | {
      readonly state: 'failed';
      readonly error: unknown;
      /** How often it was tried in vain since it last succeeded or changed. */
      readonly attempts: number;
      /** Milliseconds since the epoch. */
      readonly retryAt: number;
    };
