/** Numbers that stand in map entries for the rules that decide them, so that the kernel's events can name the rules. */
import type { CookieMeaning } from './contract.ts';
import type { Pace } from './pace.ts';
import type { PeerPolicy } from './peerpolicy.ts';
import type { RuleOrigin, RuleStanza } from './rule.ts';

/** Cookies that may name rules of the past, besides as many as are in use. */
const SPARE = 64;

export class CookieTable {
  readonly #byKey = new Map<string, number>();
  readonly #meanings = new Map<number, CookieMeaning & { readonly key: string }>();
  /** Results of {@link union}: every class of identities asks for much the same ones. */
  readonly #unions = new Map<number, number>();
  readonly #byStanza = new WeakMap<RuleStanza, number>();
  #next = 1;
  /** Rules that went since the last sweep; and how many cookies and such make the next one worth it. */
  #retired = 0;
  #limit = SPARE;
  /** Cookies that were handed out while a sweep goes on. */
  #fresh: Set<number> | undefined;

  /** The cookie of what decided an entry: the same for the same rules, whatever else changes. */
  of(policy: Pick<PeerPolicy, 'sources' | 'derivedFrom'>): number {
    const [only, ...others] = policy.sources;
    if (only === undefined || others.length > 0) return this.#make(policy);
    // Most entries have one rule behind them, and every resolution asks for it again.
    let cookie = this.#byStanza.get(only.stanza);
    if (cookie === undefined || !this.#meanings.has(cookie)) {
      cookie = this.#make(policy);
      this.#byStanza.set(only.stanza, cookie);
    }
    this.#fresh?.add(cookie);
    return cookie;
  }

  #make(policy: Pick<PeerPolicy, 'sources' | 'derivedFrom'>): number {
    const origins = policy.sources.map(({ stanza }) => stanza.origin);
    const log = policy.sources.flatMap((source) => (source.log === undefined ? [] : [source.log]));
    return this.#intern({
      origins,
      log: [...new Set(log)],
      ...(policy.derivedFrom === undefined ? {} : { derivedFrom: policy.derivedFrom }),
    });
  }

  /** The cookie of an entry that two decide together. */
  union(a: number, b: number): number {
    if (a === b || b === 0) return a;
    if (a === 0) return b;
    // Cookies stay below 2^26, so that the product is exact.
    const pair = Math.min(a, b) * 0x4000000 + Math.max(a, b);
    let cookie = this.#unions.get(pair);
    if (cookie === undefined) this.#unions.set(pair, (cookie = this.#unite(a, b)));
    this.#fresh?.add(cookie);
    return cookie;
  }

  #unite(a: number, b: number): number {
    const [one, other] = [this.#meanings.get(a)!, this.#meanings.get(b)!];
    const derivedFrom = one.derivedFrom ?? other.derivedFrom;
    return this.#intern({
      origins: [...one.origins, ...other.origins],
      log: [...new Set([...one.log, ...other.log])],
      ...(derivedFrom === undefined ? {} : { derivedFrom }),
    });
  }

  meaning(cookie: number): CookieMeaning | undefined {
    return this.#meanings.get(cookie);
  }

  /** Rules have gone, or were replaced. */
  retired(rules: number): void {
    this.#retired += rules;
  }

  /** Forgets, in slices, the cookies that are not in use, once most may name rules of the past. */
  *sweep(inUse: Iterable<number>, pace: Pace): Generator<void, void, void> {
    if (this.#fresh !== undefined || this.#meanings.size + this.#retired <= this.#limit) return;
    this.#retired = 0;
    const used = (this.#fresh = new Set());
    try {
      for (const cookie of inUse) {
        used.add(cookie);
        if (pace.due(1)) yield;
      }
      this.#unions.clear();
      for (const [cookie, { key }] of this.#meanings) {
        if (pace.due(1)) yield;
        if (used.has(cookie)) continue;
        this.#meanings.delete(cookie);
        this.#byKey.delete(key);
      }
    } finally {
      this.#fresh = undefined;
      this.#limit = 2 * this.#meanings.size + SPARE;
    }
  }

  #intern(meaning: CookieMeaning): number {
    const byKey = new Map(meaning.origins.map((origin) => [originKey(origin), origin]));
    const keys = [...byKey.keys()].sort();
    const key = `${meaning.derivedFrom ?? ''} ${keys.join(' ')}`;
    const known = this.#byKey.get(key);
    if (known !== undefined) {
      this.#fresh?.add(known);
      return known;
    }
    const cookie = this.#next++;
    this.#fresh?.add(cookie);
    this.#byKey.set(key, cookie);
    this.#meanings.set(cookie, { ...meaning, origins: keys.map((text) => byKey.get(text)!), key });
    return cookie;
  }
}

function originKey({ kind, namespace, name, uid, path }: RuleOrigin): string {
  return `${kind}/${namespace}/${name}/${uid}/${path}`;
}
