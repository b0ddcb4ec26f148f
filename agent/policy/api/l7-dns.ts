import { then } from './decode.ts';
import { nameSelector } from './fqdn-selector.ts';

/** One DNS rule: the names that may be asked for. Without name and pattern it matches nothing. */
export const dnsRule = then(nameSelector, (selector, reading) => {
  if (selector.matchName === undefined && selector.matchPattern === undefined) {
    reading.schemaIssue('neither matchName nor matchPattern is given', {
      remedy: 'give one; matchPattern: "*" is every name',
    });
  }
  return { ...selector };
});
