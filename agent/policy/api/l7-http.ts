import { list, object, string, then, type Decoder } from './decode.ts';
import { regularExpressionFault } from './re2-syntax.ts';
import type { Reading } from './reading.ts';
import { secret } from './tls-context.ts';

/** What to do with a request whose header does not match; without one the rule does not match. */
const MISMATCH_ACTIONS = ['LOG', 'ADD', 'DELETE', 'REPLACE'] as const;

const headerMatch = then(object({ mismatch: string, name: string, secret, value: string }), (match, reading) => {
  const { mismatch = '', name = '' } = match;
  if (name === '') reading.issue('the header is not named', { under: ['name'], remedy: 'set name' });
  if (mismatch !== '' && !MISMATCH_ACTIONS.some((action) => action === mismatch)) {
    reading.at('mismatch', () => reading.unknownName('action', mismatch, MISMATCH_ACTIONS));
  }
  if (match.secret !== undefined && (match.secret.name ?? '') === '') {
    reading.issue('the secret is not named', { under: ['secret', 'name'], remedy: 'set secret.name' });
  }
  return match;
});

/** One HTTP rule: every given field must match. Path, method and host are regular expressions over the whole value. */
export const httpRule: Decoder<Readonly<Record<string, unknown>>> = then(
  object({ path: string, method: string, host: string, headers: list(string), headerMatches: list(headerMatch) }),
  (rule, reading) => {
    for (const field of ['path', 'method'] as const) checkExpression(field, rule[field] ?? '', reading);
    if (reading.strict) checkExpression('host', rule.host ?? '', reading);
    return { ...rule };
  },
);

function checkExpression(field: string, text: string, reading: Reading): void {
  const fault = text === '' ? undefined : regularExpressionFault(text);
  if (fault === undefined) return;
  reading.issue(`is not a regular expression: ${fault}`, {
    under: [field],
    value: text,
    remedy: 'write an RE2 expression: no look-around, no back-references',
  });
}
