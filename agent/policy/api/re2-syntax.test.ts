import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { regularExpressionFault } from './re2-syntax.ts';

const VALID = [
  '', 'GET', '^GET$', '/api/v[0-9]+/.*', '/healthz$', '(a|b)*', '(?:a)+?', '(?i)get', '(?P<name>a)', '(?<name>a)',
  '[^]a]', '[]a]', '[a-]', '[[:alpha:]_]', '[\\d\\-.]', 'a{2}', 'a{2,}', 'a{2,3}?', 'a{,3}', 'a{', '\\Qa(b\\E', '\\x41\\x{1F600}',
  '\\pL', '\\p{Greek}', '\\P{^Lu}', '\\012', '\\.\\/', '^*', '()', 'ä+', '(?i:a)',
]; // prettier-ignore

const INVALID = [
  '[', '(', ')', 'a)', '(?=a)', '(?!a)', '(?<=a)', '(?>a)', '(a)\\1', '\\', '\\8', '\\y', '*a', 'a**', 'a*+', '|+', '[b-a]', '[[:foo:]]',
  'a{3,2}', 'a{1001}', '\\p{Nope}', '(?P<a>x)(?P<a>y)', '[a', '[\\', '(?z)', '\\x{110000000}',
]; // prettier-ignore

describe('regularExpressionFault', () => {
  for (const text of VALID) test(`accepts ${text}`, () => assert.equal(regularExpressionFault(text), undefined));
  for (const text of INVALID)
    test(`refuses ${text}`, () => assert.equal(typeof regularExpressionFault(text), 'string'));
});
