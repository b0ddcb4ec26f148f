import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { formatQuantity, parseQuantity } from './quantity.ts';

describe('quantities', () => {
  for (const [text, value] of [
    ['0', 0],
    ['1', 1],
    ['10M', 10_000_000],
    ['1.1M', 1_100_000],
    ['.5G', 500_000_000],
    ['5.', 5],
    ['+3k', 3000],
    ['-3k', -3000],
    ['1500m', 1.5],
    ['1Ki', 1024],
    ['1.5Gi', 1.5 * 2 ** 30],
    ['2e6', 2_000_000],
    ['2E6', 2_000_000],
    ['2E', 2e18],
    ['1e-3', 0.001],
  ] as const) {
    test(`${text} is ${value}`, () => assert.equal(parseQuantity(text), value));
  }

  for (const text of [
    '',
    ' 1',
    '1 M',
    'M',
    '1K',
    '1mi',
    '1kbit',
    '10Mbit',
    '1,5M',
    '1.2.3',
    '0x10',
    'Infinity',
    '1e',
    '.',
  ]) {
    test(`${JSON.stringify(text)} is none`, () => assert.equal(parseQuantity(text), undefined));
  }

  for (const [value, text] of [
    [0, '0'],
    [999, '999'],
    [1000, '1k'],
    [1500, '1500'],
    [10_000_000, '10M'],
    [1_500_000, '1500k'],
    [1_000_000_000, '1G'],
    [1_048_576, '1048576'],
  ] as const) {
    test(`${value} as ${text}`, () => assert.equal(formatQuantity(value), text));
  }
});
