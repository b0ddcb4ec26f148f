/** Ranks of entries: one unsigned 32-bit number, higher wins (S7, S8). */
import type { Tier } from './rule.ts';

/** Listener priorities of parsers that name none; a lower number ranks first (S8). */
const PARSER_PRIORITY: ReadonlyMap<string, number> = new Map([
  ['http', 101],
  ['kafka', 106],
  ['tls', 116],
  ['dns', 121],
  ['crd', 126],
]);

/** Ranks of one level, from its lowest byte: 0 pass, 1 allow, 2 to 254 redirects, 255 deny. */
const ALLOW = 1;
const REDIRECT = 2;
const DENY = 255;
const MAX_LISTENER_PRIORITY = 126;

/** The last level: nothing ranks below it. */
export const MAX_LEVEL = 0xffffff;

/**
 * Where the levels of a tier begin. Levels are numbers from 0, lower decides first. Tiers lie far apart so that a new
 * Admin policy does not renumber the entries of ordinary ones. Above the first level there is room, should an entry have to
 * outrank it.
 */
export const TIER_BASE: Readonly<Record<Tier, number>> = { admin: 1, normal: 0x400000, baseline: 0x800000 };

/** Position of a tier in the order of decision; what no rule wrote comes after all of them. */
export const TIER_INDEX: Readonly<Record<Tier, number>> = { admin: 0, normal: 1, baseline: 2 };

export type Verdict = 'allow' | 'deny' | 'pass';

/** Listener priority of a parser (S8); 0 when it has none of its own. */
export function parserPriority(parser: string): number {
  return PARSER_PRIORITY.get(parser) ?? 0;
}

/**
 * Precedence of an entry.
 *
 * @param level 0 decides first; what is past the last level counts as the last.
 * @param redirect whether an allowed packet goes to a proxy.
 * @param listenerPriority 1 to 126, lower first; 0 is the least redirect.
 */
export function precedence(level: number, verdict: Verdict, redirect = false, listenerPriority = 0): number {
  const base = (MAX_LEVEL - Math.min(level, MAX_LEVEL)) * 256;
  if (verdict === 'deny') return base + DENY;
  if (verdict === 'pass') return base;
  if (!redirect) return base + ALLOW;
  return base + (listenerPriority === 0 ? REDIRECT : DENY - Math.min(listenerPriority, MAX_LISTENER_PRIORITY));
}

/** The precedence without what a redirect adds: entries of one level compare equal. */
export function levelPrecedence(value: number): number {
  return value - (value % 256);
}
