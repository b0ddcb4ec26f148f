/**
 * What the rules decide for a packet, said once and plainly: the entries of its peer and of every peer that match it, in
 * order. Map states are built so that the kernel's two lookups come to the same result; {@link resolveTable} proves it key
 * by key where that is not evident.
 */
import {
  bySpecificity,
  compareEntries,
  Covering,
  decidesAlike,
  longestCover,
  mergeEntries,
  PortTable,
  type CookieUnion,
  type Entry,
  type Item,
  type Scope,
} from './entry.ts';
import { keySpecificity, type PortKey } from './ports.ts';
import { levelPrecedence } from './precedence.ts';

/** An item of the peer's own identity, or of identity 0. */
interface Candidate extends Item {
  readonly specific: boolean;
}

const DEFAULT_DENY: Entry = {
  verdict: 'deny',
  precedence: 0,
  redirect: undefined,
  authType: 0,
  authExplicit: false,
  cookie: 0,
  defaultDeny: true,
};

/**
 * The table of an identity (or of identity 0, when `broader` is absent): for every packet, the longest match in it and
 * in the table of identity 0 decide by S7 as {@link decide} does on all items.
 *
 * Without Pass, authentication and audited policies the better of the two longest matches is right by itself: see
 * {@link dominant}. With them an entry of one identity changes what an entry of another means, and the table gets whatever
 * keys it takes.
 */
export function resolveTable(
  own: SideItems,
  broader: { readonly side: SideItems; readonly table: PortTable } | undefined,
  entangled: boolean,
  union: CookieUnion,
): PortTable {
  if (!entangled) return new PortTable(dominant(own.items, union));
  const decideAt = deciding(own, broader?.side ?? new SideItems([], union), union);
  const table = new Map<PortKey, Entry>();
  for (const key of [...keysOf(own, broader?.side)].sort(bySpecificity)) {
    const wanted = decideAt(key) ?? DEFAULT_DENY;
    const at = broader?.table.longestMatch(key) ?? -1;
    const other = at < 0 ? undefined : { key: broader!.table.keys[at]!, entry: broader!.table.entries[at]! };
    const cover = longestCover(table, key);
    const found = twoLookups(cover === undefined ? undefined : { key: cover, entry: table.get(cover)! }, other);
    if (found === undefined ? wanted.defaultDeny === true : same(found, wanted)) continue;
    table.set(key, outranking(wanted, key, other));
  }
  return new PortTable(table);
}

/** Keys at which the decision may change: where nothing of its own matches, an identity is as any other. */
function keysOf(own: SideItems, all: SideItems | undefined): ReadonlySet<PortKey> {
  const keys = new Set(own.items.map(({ key }) => key));
  const narrower = (all?.items ?? []).filter(({ key }) => own.all.matches(key));
  for (const { key } of narrower) keys.add(key);
  return keys;
}

function same(a: Entry, b: Entry): boolean {
  return decidesAlike(a, b) && a.cookie === b.cookie;
}

type DecideAt = (key: PortKey) => Entry | undefined;

/** What the items of an identity and those of identity 0 decide for the packets of a key; undefined is nothing. */
function deciding(own: SideItems, all: SideItems, union: CookieUnion): DecideAt {
  const enforced: DecideAt = (key) => decide(own.enforced.of(key), all.enforced.of(key));
  if (!own.isAudited && !all.isAudited) return enforced;
  return (key) => {
    const audited = decide(own.audited.of(key), all.audited.of(key));
    // Whoever passes a decision on is behind what comes of it.
    const passes = [...own.passes.of(key), ...all.passes.of(key)];
    const passed = passes.reduce((cookie, { entry }) => union(cookie, entry.cookie), 0);
    return withAudit(enforced(key), audited, (cookie) => union(cookie, passed));
  };
}

/** The items of an identity, or of identity 0, ready to be asked for those that match a key. */
export class SideItems {
  readonly items: readonly Item[];
  readonly isAudited: boolean;
  readonly #union: CookieUnion;
  #all: Covering | undefined;
  #enforced: Covering | undefined;
  #audited: Covering | undefined;
  #passes: Covering | undefined;

  constructor(items: readonly Item[], union: CookieUnion) {
    this.items = items;
    this.isAudited = items.some(({ scope }) => scope !== 'both');
    this.#union = union;
  }

  get all(): Covering {
    return (this.#all ??= new Covering(this.items));
  }

  /** What counts for what is enforced, one per level and key. */
  get enforced(): Covering {
    return (this.#enforced ??= this.#merged('audited'));
  }

  /** What counts for what would be if audited policies were enforced too, one per level and key. */
  get audited(): Covering {
    return (this.#audited ??= this.isAudited ? this.#merged('enforced') : this.enforced);
  }

  /** What audited policies pass on. */
  get passes(): Covering {
    const isPass = ({ scope, entry }: Item): boolean => scope === 'audited' && entry.verdict === 'pass';
    return (this.#passes ??= new Covering(this.items.filter(isPass)));
  }

  #merged(without: Scope): Covering {
    const items = this.items.filter(({ scope }) => scope !== without);
    return new Covering(mergeKeys(items, this.#union));
  }
}

/** What is enforced; an allowance that audited policies would deny says so, and who would. They never allow anything. */
export function withAudit(
  enforced: Entry | undefined,
  audited: Entry | undefined,
  cookieOf: (cookie: number) => number,
): Entry | undefined {
  if (enforced?.verdict !== 'allow' || audited?.verdict === 'allow') return enforced;
  return { ...enforced, audited: true, cookie: cookieOf(audited?.cookie ?? 0) };
}

/** Items of one identity, one per level and key: a denial leaves nothing of an allowance beside it, nor its authentication. */
export function mergeKeys(items: readonly Item[], union: CookieUnion): readonly Item[] {
  const merged = new Map<string, Item>();
  for (const item of items) {
    const place = `${item.key}/${levelPrecedence(item.entry.precedence)}`;
    const present = merged.get(place);
    merged.set(
      place,
      present === undefined ? item : { ...item, entry: mergeEntries(present.entry, item.entry, union) },
    );
  }
  return [...merged.values()];
}

/**
 * Keys whose entry no broader key outranks. Along the keys that match one packet the precedence never falls from broader
 * to narrower, so that the longest match is also the one that decides.
 */
export function dominant(items: readonly Item[], union: CookieUnion): ReadonlyMap<PortKey, Entry> {
  const merged = new Map<PortKey, Entry>();
  for (const { key, entry } of items) {
    const present = merged.get(key);
    merged.set(key, present === undefined ? entry : mergeEntries(present, entry, union));
  }
  if (merged.size < 2) return merged;
  const kept = new Map<PortKey, Entry>();
  for (const key of [...merged.keys()].sort(bySpecificity)) {
    const entry = merged.get(key)!;
    const cover = longestCover(kept, key);
    if (cover !== undefined) {
      const order = compareEntries(kept.get(cover)!, entry);
      // Of two equal denials the broader says it all; of two equal allowances both stay, for S7 looks at their length.
      if (order > 0 || (order === 0 && entry.verdict === 'deny')) continue;
    }
    kept.set(key, entry);
  }
  return kept;
}

interface Match {
  readonly key: PortKey;
  readonly entry: Entry;
}

/** S7: between the best match of the exact identity and that of identity 0. */
export function twoLookups(specific: Match | undefined, any: Match | undefined): Entry | undefined {
  if (specific === undefined || any === undefined) return (specific ?? any)?.entry;
  const order = compareEntries(specific.entry, any.entry);
  if (order !== 0) return order > 0 ? specific.entry : any.entry;
  return keySpecificity(any.key) > keySpecificity(specific.key) ? any.entry : specific.entry;
}

/** `wanted` with a precedence that wins over identity 0's match: a greater one, for a longer match wins among equals. */
function outranking(wanted: Entry, key: PortKey, other: Match | undefined): Entry {
  if (other === undefined || twoLookups({ key, entry: wanted }, other) === wanted) return wanted;
  return { ...wanted, precedence: other.entry.precedence + 1 };
}

/**
 * What decides among all items that match a packet; undefined when none does. Of each side there is at most one for a key
 * and level: see {@link mergeKeys}.
 */
export function decide(own: readonly Item[], all: readonly Item[]): Entry | undefined {
  let candidates: readonly Candidate[] = [
    ...own.map((item) => ({ ...item, specific: true })),
    ...all.map((item) => ({ ...item, specific: false })),
  ];
  for (;;) {
    const winner = candidates.reduce<Candidate | undefined>(
      (best, next) => (best === undefined || outranks(next, best) ? next : best),
      undefined,
    );
    if (winner === undefined) return undefined;
    if (winner.entry.verdict === 'deny') return winner.entry;
    if (winner.entry.verdict === 'allow') return authenticated(candidates);
    // Pass: nothing more of this tier, on to the next (S38).
    candidates = candidates.filter(({ tier }) => tier > winner.tier);
  }
}

function outranks(a: Candidate, b: Candidate): boolean {
  const order = compareEntries(a.entry, b.entry);
  if (order !== 0) return order > 0;
  const specificity = keySpecificity(a.key) - keySpecificity(b.key);
  return specificity !== 0 ? specificity > 0 : a.specific && !b.specific;
}

/** The best of one side, with the authentication that it has or inherits within its side. */
interface Side extends Match {
  readonly specific: boolean;
}

/** The deciding allowance with the authentication that applies to it (S11). */
function authenticated(candidates: readonly Candidate[]): Entry {
  const own = sideOf(candidates.filter(({ specific }) => specific));
  const all = sideOf(candidates.filter(({ specific }) => !specific));
  if (own === undefined || all === undefined) return (own ?? all)!.entry;
  const winner = twoLookups(own, all)!;
  const other = winner === own.entry ? all.entry : own.entry;
  // Only equals lend each other authentication: a weaker entry has no say in what a stronger one decides.
  if (winner.authExplicit || other.precedence !== winner.precedence || other.authType <= winner.authType) return winner;
  return { ...winner, authType: other.authType };
}

/**
 * What the matches of one identity come to. The strongest gives verdict and redirect; authentication comes from the
 * narrowest that names it, unless that is both broader and weaker than the strongest.
 */
function sideOf(candidates: readonly Candidate[]): Side | undefined {
  let winner: Candidate | undefined;
  for (const next of candidates) if (winner === undefined || outranks(next, winner)) winner = next;
  if (winner === undefined || winner.entry.verdict !== 'allow') return winner;
  const specificity = keySpecificity(winner.key);
  const level = levelPrecedence(winner.entry.precedence);
  const naming = candidates
    .filter(({ entry }) => entry.verdict === 'allow' && entry.authExplicit)
    .filter(({ key, entry }) => keySpecificity(key) >= specificity || levelPrecedence(entry.precedence) >= level)
    .sort((a, b) => keySpecificity(b.key) - keySpecificity(a.key) || (outranks(a, b) ? -1 : 1));
  const source = naming[0];
  if (source === undefined || source === winner) return winner;
  const own = keySpecificity(source.key) >= specificity;
  const entry = { ...winner.entry, authType: source.entry.authType, authExplicit: own };
  return { key: own ? source.key : winner.key, entry, specific: winner.specific };
}
