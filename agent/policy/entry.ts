/** Entries as the engine keeps them: shared by all identities that they apply to. */
import type { Redirect } from './contract.ts';
import type { PortKey } from './ports.ts';
import { keyAt, keyPrefix, keyProtocol, keySpecificity } from './ports.ts';
import { levelPrecedence, type Verdict } from './precedence.ts';

/** Authentication types as numbers; of two that are both explicit the greater one counts (S11). */
export const AUTH_TYPE = { disabled: 0, required: 1, 'test-always-fail': 2 } as const;

/** What a rule decides for a port. Equal decisions are one object wherever that is cheap. */
export interface Entry {
  readonly verdict: Verdict;
  readonly precedence: number;
  readonly redirect: Redirect | undefined;
  readonly authType: number;
  /** The rules themselves name the authentication type; otherwise it is inherited, or none (S11). */
  readonly authExplicit: boolean;
  readonly cookie: number;
  /** Stands for the absence of a decision where another identity's entry would otherwise decide. */
  readonly defaultDeny?: boolean;
  /** An allowance that audited policies would deny: the cookie names what would. */
  readonly audited?: boolean;
}

/** What something counts for: what is enforced, what would be if audited policies were enforced too, or both. */
export type Scope = 'both' | 'enforced' | 'audited';

/** An entry at a port, of a tier. */
export interface Item {
  readonly key: PortKey;
  readonly tier: number;
  readonly scope: Scope;
  readonly entry: Entry;
}

/** Gives the cookie of what two decide together. */
export type CookieUnion = (a: number, b: number) => number;

/** S7 between entries that match one packet: positive when `a` decides, then the more specific one. */
export function compareEntries(a: Entry, b: Entry): number {
  if (a.precedence !== b.precedence) return a.precedence - b.precedence;
  return (a.verdict === 'deny' ? 1 : 0) - (b.verdict === 'deny' ? 1 : 0);
}

/** Two entries with the same key and identity (S26). */
export function mergeEntries(a: Entry, b: Entry, union: CookieUnion): Entry {
  if (a === b) return a;
  const sameLevel = levelPrecedence(a.precedence) === levelPrecedence(b.precedence);
  const winner = prefer(a, b);
  if (!sameLevel || a.verdict !== 'allow' || b.verdict !== 'allow') {
    return a.verdict === b.verdict && sameLevel ? withCookie(winner, union(a.cookie, b.cookie)) : winner;
  }
  const auth = mergeAuth(a, b);
  const cookie = a.redirect?.id === b.redirect?.id ? union(a.cookie, b.cookie) : winner.cookie;
  if (auth.authType === winner.authType && auth.authExplicit === winner.authExplicit && cookie === winner.cookie) {
    return winner;
  }
  return { ...winner, ...auth, cookie };
}

function prefer(a: Entry, b: Entry): Entry {
  const order = compareEntries(a, b);
  if (order !== 0) return order > 0 ? a : b;
  // Which of two equal redirects it is must not depend on the order of events.
  return (a.redirect?.id ?? '') <= (b.redirect?.id ?? '') ? a : b;
}

function withCookie(entry: Entry, cookie: number): Entry {
  return entry.cookie === cookie ? entry : { ...entry, cookie };
}

function mergeAuth(a: Entry, b: Entry): Pick<Entry, 'authType' | 'authExplicit'> {
  if (a.authExplicit === b.authExplicit) return a.authType >= b.authType ? a : b;
  return a.authExplicit ? a : b;
}

/** Whether both decide alike; which rules say so may differ. */
export function decidesAlike(a: Entry, b: Entry): boolean {
  return (
    (a.verdict === 'deny') === (b.verdict === 'deny') &&
    a.redirect?.id === b.redirect?.id &&
    a.authType === b.authType &&
    a.authExplicit === b.authExplicit &&
    a.defaultDeny === b.defaultDeny &&
    a.audited === b.audited
  );
}

export function entriesEqual(a: Entry, b: Entry): boolean {
  return a === b || (a.precedence === b.precedence && a.cookie === b.cookie && decidesAlike(a, b));
}

/**
 * The entries of one identity: at most one per port key, and for every packet the longest match among them decides, as
 * it does in the kernel. Sorted by key.
 */
export class PortTable {
  readonly keys: Int32Array;
  readonly entries: readonly Entry[];
  /** Bit n: some key has n bits of port. */
  readonly #prefixes: number;

  constructor(entries: ReadonlyMap<PortKey, Entry>) {
    this.keys = Int32Array.from(entries.keys()).sort();
    this.entries = Array.from(this.keys, (key) => entries.get(key)!);
    let prefixes = 0;
    for (const key of this.keys) prefixes |= 1 << keyPrefix(key);
    this.#prefixes = prefixes;
  }

  static readonly EMPTY = new PortTable(new Map());

  get size(): number {
    return this.keys.length;
  }

  /** Position of a key; -1 when it is absent. */
  indexOf(key: PortKey): number {
    const keys = this.keys;
    let low = 0;
    let high = keys.length - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const found = keys[middle]!;
      if (found === key) return middle;
      if (found < key) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }

  get(key: PortKey): Entry | undefined {
    const at = this.indexOf(key);
    return at < 0 ? undefined : this.entries[at];
  }

  /** Position of the longest match of a key; -1 when nothing matches. */
  longestMatch(key: PortKey): number {
    for (let prefix = keyPrefix(key); prefix >= 0; prefix--) {
      if ((this.#prefixes & (1 << prefix)) === 0) continue;
      const at = this.indexOf(keyAt(key, prefix));
      if (at >= 0) return at;
    }
    return this.keys.length > 0 && this.keys[0] === 0 ? 0 : -1;
  }
}

/** The longest key of `entries` that covers `key`. */
export function longestCover(entries: ReadonlyMap<PortKey, Entry>, key: PortKey): PortKey | undefined {
  if (keyProtocol(key) !== 0) {
    for (let prefix = keyPrefix(key); prefix >= 0; prefix--) {
      const candidate = keyAt(key, prefix);
      if (entries.has(candidate)) return candidate;
    }
  }
  return entries.has(0) ? 0 : undefined;
}

/** Order in which broader keys come first. */
export function bySpecificity(a: PortKey, b: PortKey): number {
  return keySpecificity(a) - keySpecificity(b);
}

/** Finds the items that match all of a key: there are as many places to look as prefixes of it. */
export class Covering {
  readonly #byKey = new Map<PortKey, Item[]>();

  constructor(items: readonly Item[]) {
    for (const item of items) {
      const present = this.#byKey.get(item.key);
      if (present === undefined) this.#byKey.set(item.key, [item]);
      else present.push(item);
    }
  }

  /** Whether some item matches all of `key`. */
  matches(key: PortKey): boolean {
    if (this.#byKey.has(0)) return true;
    if (key === 0) return false;
    for (let prefix = keyPrefix(key); prefix >= 0; prefix--) if (this.#byKey.has(keyAt(key, prefix))) return true;
    return false;
  }

  /** Narrower first. */
  of(key: PortKey): readonly Item[] {
    const found: Item[] = [];
    if (key !== 0) {
      for (let prefix = keyPrefix(key); prefix >= 0; prefix--) {
        const items = this.#byKey.get(keyAt(key, prefix));
        if (items !== undefined) found.push(...items);
      }
    }
    const any = this.#byKey.get(0);
    return any === undefined ? found : [...found, ...any];
  }
}
