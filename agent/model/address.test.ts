import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatCidr, parseAddress, parseCidr, prefixKey, prefixOfKey } from './address.ts';

const bytes = fc.oneof(...[4, 16].map((length) => fc.uint8Array({ minLength: length, maxLength: length })));
const prefix = fc
  .tuple(bytes, fc.nat(128))
  .map(([value, length]) => ({ value, length: length % (value.length * 8 + 1) }));

test('keys of prefixes are equal for equal prefixes, and give them back', () => {
  fc.assert(
    fc.property(prefix, prefix, (a, b) => {
      const [first, second] = [a, b].map(({ value, length }) => {
        const family = value.length === 4 ? 4 : 6;
        const text = formatCidr(parseCidr(formatCidr({ address: { family, bytes: value }, length })));
        const key = prefixKey(value, length);
        assert.equal(formatCidr(prefixOfKey(key)), text);
        return { key, text };
      });
      assert.equal(first!.key === second!.key, first!.text === second!.text);
    }),
  );
});

test('IPv4 addresses are four decimals without zeros in front', () => {
  const isAddress = (text: string): boolean => {
    try {
      return parseAddress(text).bytes.length === 4;
    } catch {
      return false;
    }
  };
  for (const text of ['0.0.0.0', '10.2.30.255', '255.255.255.255']) assert.ok(isAddress(text), text);
  for (const text of [
    '1.2.3',
    '1.2.3.4.5',
    '01.2.3.4',
    '00.1.1.1',
    '256.1.1.1',
    '1..2.3',
    '1.2.3.4.',
    '.1.2.3',
    '',
    'a.b.c.d',
  ])
    assert.ok(!isAddress(text), text);
});
