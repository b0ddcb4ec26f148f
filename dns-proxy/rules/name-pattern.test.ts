import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { canonicalName, exactName, namePattern, namePatternFault } from './name-pattern.ts';

/** The meaning of a pattern as a regular expression, which is what users think in (S29). */
function expressionOf(pattern: string): RegExp {
  const subdomains = /^\*{2,}\./.exec(pattern);
  const rest = canonicalName(pattern.slice(subdomains?.[0].length ?? 0));
  const body = rest.replace(/\*+/g, '[-a-z0-9_]*').replaceAll('.', '[.]');
  return new RegExp(`^${subdomains === null ? '' : '(?:[-a-z0-9_]+[.])+'}${body}$`);
}

const label = fc.string({ unit: fc.constantFrom('a', 'b', '-', '_', '1'), maxLength: 4 });
const patternLabel = fc.string({ unit: fc.constantFrom('a', 'b', '*', '1'), minLength: 1, maxLength: 5 });
const name = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => canonicalName(labels.join('.')));
const pattern = fc.array(patternLabel, { minLength: 1, maxLength: 4 }).map((labels) => labels.join('.'));

describe('namePattern', () => {
  test('agrees with the regular expression it stands for', () => {
    fc.assert(
      fc.property(pattern, name, (text, candidate) => {
        fc.pre(!/^\*+$/.test(text));
        assert.equal(namePattern(text).matches(candidate), expressionOf(text).test(candidate), `${text} ${candidate}`);
      }),
      { numRuns: 3000 },
    );
  });

  test('takes no longer for a name made to be slow', () => {
    const slow = namePattern(`${'*a'.repeat(100)}.com`);
    assert.equal(slow.matches(`${'a'.repeat(250)}b.com.`), false);
  });

  test('two stars in front want a label or more', () => {
    const everywhere = namePattern('**.example.com');
    assert.equal(everywhere.matches('a.b.example.com.'), true);
    assert.equal(everywhere.matches('example.com.'), false);
    assert.equal(everywhere.matches('.example.com.'), false);
  });

  test('ignores the case and the final dot of what was written', () => {
    assert.equal(namePattern('*.EXAMPLE.com.').text, '*.example.com.');
    assert.equal(exactName('WWW.Example.com').matches('www.example.com.'), true);
  });
});

test('namePatternFault', () => {
  assert.equal(namePatternFault('*.example.com'), undefined);
  assert.equal(namePatternFault('a'.repeat(255)), undefined);
  assert.match(namePatternFault('a'.repeat(256)) ?? '', /255/);
  assert.match(namePatternFault('a?.com') ?? '', /letters/);
});
