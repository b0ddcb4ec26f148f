import { cidrCovers, formatCidr, parseCidr, type Cidr } from '../../model/address.ts';
import { errorText } from '../../model/errors.ts';
import type { PeerSelector } from '../rule.ts';
import { list, object, string, then, type Decoder } from './decode.ts';
import { finishSelector, nullableSelector, type SelectorDraft } from './label-selector.ts';
import type { Reading, Refused } from './reading.ts';

/** A prefix, or a bare address for the prefix of that address alone. */
export const cidr: Decoder<Cidr> = then(string, (text, reading) => parse(text, reading));

/** A prefix written with its length. */
export const prefix: Decoder<Cidr> = then(string, (text, reading) => {
  const parsed = parse(text, reading);
  if (parsed === null || text.includes('/')) return parsed;
  return reading.issue('a prefix needs its length here', { value: text, remedy: `write ${formatCidr(parsed)}` });
});

/** `fromCIDR`, `toCIDR`. */
export const cidrPeers: Decoder<readonly PeerSelector[]> = list(
  then(cidr, (parsed) => ({ kind: 'cidr' as const, cidr: parsed, except: [] })),
);

const cidrRule = object({
  cidr: string,
  cidrGroupRef: string,
  cidrGroupSelector: nullableSelector({ source: 'cidrgroup' }),
  except: list(prefix),
});

type CidrRule = NonNullable<ReturnType<typeof cidrRule>>;

/** `fromCIDRSet`, `toCIDRSet`. */
export const cidrSetPeers: Decoder<readonly PeerSelector[]> = list(then(cidrRule, cidrPeer));

function cidrPeer(rule: CidrRule, reading: Reading): PeerSelector | Refused {
  const named = (['cidr', 'cidrGroupRef', 'cidrGroupSelector'] as const).filter(
    (name) => rule[name] !== undefined && rule[name] !== '',
  );
  if (named.length !== 1) {
    const message =
      named.length === 0 ? 'no prefix and no group is given' : `${named.join(' and ')} exclude each other`;
    return reading.issue(message, {
      ...(named[1] === undefined ? {} : { under: [named[1]] }),
      remedy: 'give exactly one of cidr, cidrGroupRef and cidrGroupSelector',
    });
  }
  if (named[0] === 'cidr') return reading.at('cidr', () => exceptPeer(rule.cidr ?? '', rule.except ?? [], reading));
  return { kind: 'cidrGroup', group: groupOf(rule), except: rule.except ?? [] };
}

function groupOf({ cidrGroupRef, cidrGroupSelector }: CidrRule) {
  if (cidrGroupRef !== undefined && cidrGroupRef !== '') return { name: cidrGroupRef };
  return { selector: finishSelector(cidrGroupSelector as SelectorDraft) };
}

function exceptPeer(text: string, except: readonly Cidr[], reading: Reading): PeerSelector | Refused {
  const outer = prefix(text, reading);
  if (outer === null) return null;
  return exceptsInside(outer, except, reading) ? { kind: 'cidr', cidr: outer, except } : null;
}

/** Reports every except that is not part of `outer`; false when there is one. */
export function exceptsInside(outer: Cidr, except: readonly Cidr[], reading: Reading): boolean {
  const outside = except.filter((inner) => !cidrCovers(outer, inner));
  for (const inner of outside) {
    reading.issue(`does not contain its exception ${formatCidr(inner)}`, {
      value: formatCidr(outer),
      remedy: 'except only prefixes inside the prefix',
    });
  }
  return outside.length === 0;
}

function parse(text: string, reading: Reading): Cidr | Refused {
  const remedy = 'write an IPv4 or IPv6 prefix such as 10.0.0.0/8 or 2001:db8::/32';
  if (text === '') return reading.issue('the prefix is empty', { value: text, remedy });
  try {
    return parseCidr(text);
  } catch (error) {
    return reading.issue(errorMessage(error), { value: text, remedy });
  }
}

function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : errorText(error);
}
