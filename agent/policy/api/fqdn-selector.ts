/** Names of the domain name system, in `toFQDNs` and in DNS rules (S29). */
import { namePatternFault } from '../../../dns-proxy/rules/name-pattern.ts';
import type { PeerSelector } from '../rule.ts';
import { list, object, string, then, type Decoder } from './decode.ts';
import type { Reading } from './reading.ts';

export interface NameSelector {
  readonly matchName?: string;
  readonly matchPattern?: string;
}

const rawNameSelector = object({ matchName: string, matchPattern: string });

/** A name or a pattern, each checked; both are allowed here, neither too. */
export const nameSelector: Decoder<NameSelector> = then(
  rawNameSelector,
  ({ matchName = '', matchPattern = '' }, reading) => {
    if (matchName !== '') checkName(matchName, reading);
    if (matchPattern !== '') checkPattern(matchPattern, reading);
    return {
      ...(matchName === '' ? {} : { matchName }),
      ...(matchPattern === '' ? {} : { matchPattern }),
    };
  },
);

/** `toFQDNs`: a name or a pattern, not both. */
export const fqdnPeers: Decoder<readonly PeerSelector[]> = list(
  then(nameSelector, (selector, reading) => {
    if (selector.matchName !== undefined && selector.matchPattern !== undefined) {
      return reading.issue('matchName and matchPattern exclude each other', {
        under: ['matchPattern'],
        value: selector.matchPattern,
        remedy: 'write two items, one with the name and one with the pattern',
      });
    }
    if (selector.matchName === undefined && selector.matchPattern === undefined) {
      reading.schemaIssue('neither matchName nor matchPattern is given', { remedy: 'give one of them' });
    }
    return { kind: 'fqdn' as const, ...selector };
  }),
);

/** `fromFQDNs`: names only, for the node asks for them by itself. */
export const polledPeers: Decoder<readonly PeerSelector[]> = list(
  then(rawNameSelector, ({ matchName = '', matchPattern = '' }, reading) => {
    if (matchPattern !== '') {
      return reading.issue('the node asks for these names by itself, and a pattern is none to ask for', {
        under: ['matchPattern'],
        value: matchPattern,
        remedy: 'name each of them with matchName',
      });
    }
    if (matchName === '') reading.schemaIssue('matchName is not given', { remedy: 'give a name' });
    else checkName(matchName, reading);
    return { kind: 'fqdn' as const, matchName };
  }),
);

/** Reports characters that no name may have. */
export function checkName(name: string, reading: Reading, under: readonly string[] = ['matchName']): void {
  if (/^[-0-9a-zA-Z_.]+$/.test(name)) return;
  reading.issue('a name has only letters, digits, - _ and .', {
    under,
    value: name,
    remedy: name.includes('*') ? 'use matchPattern for names with a *' : 'correct the name',
  });
}

/** Reports what keeps a pattern from being one. */
export function checkPattern(pattern: string, reading: Reading, under: readonly string[] = ['matchPattern']): void {
  const fault = namePatternFault(pattern);
  if (fault !== undefined)
    reading.issue(fault, { under, value: pattern, remedy: 'correct the pattern, such as *.example.com' });
}
