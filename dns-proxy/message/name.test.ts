import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { encodeName } from './name.ts';
import { WireReader } from './reader.ts';

const label = fc.uint8Array({ minLength: 1, maxLength: 63 });
const wireName = fc
  .array(label, { maxLength: 4 })
  .map((labels) => Uint8Array.from([...labels.flatMap((bytes) => [bytes.length, ...bytes]), 0]))
  .filter((wire) => wire.length <= 255);

function textOf(wire: Uint8Array): string {
  const reader = new WireReader(wire);
  const text = reader.name();
  assert.equal(reader.fault, undefined);
  assert.equal(reader.atEnd, true);
  return text;
}

/** Letters made small; lengths are below 64 and stay as they are. */
function lower(wire: Uint8Array): Uint8Array {
  return wire.map((byte) => (byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte));
}

describe('names', () => {
  test('go from the wire to text and back, whatever bytes they hold', () => {
    fc.assert(fc.property(wireName, (wire) => assert.deepEqual(encodeName(textOf(wire)), lower(wire))));
  });

  test('have one text each: escapes keep a dot inside a label apart from one between labels', () => {
    assert.equal(textOf(Uint8Array.of(3, 0x61, 0x2e, 0x62, 0)), 'a\\.b.');
    assert.equal(textOf(Uint8Array.of(2, 0x5c, 0x07, 0)), '\\\\\\007.');
    assert.equal(textOf(Uint8Array.of(1, 0x41, 1, 0x5a, 0)), 'a.z.');
    assert.equal(textOf(Uint8Array.of(0)), '.');
  });

  test('as text that are none', () => {
    for (const text of ['', '..', '.a', 'a..b', 'a\\', 'a\\25', 'a\\256', '\u0416.com', 'x'.repeat(64)]) {
      assert.equal(encodeName(text), undefined, JSON.stringify(text));
    }
    assert.equal(encodeName(`${'x'.repeat(63)}.`.repeat(3) + 'y'.repeat(61))?.length, 255);
    assert.equal(encodeName(`${'x'.repeat(63)}.`.repeat(3) + 'y'.repeat(62)), undefined);
    assert.equal(encodeName('x.'.repeat(127))?.length, 255);
    assert.equal(encodeName('x.'.repeat(128)), undefined);
  });

  test('on the wire that are none set a fault, which stays', () => {
    for (const [wire, reason] of [
      [[3, 0x61], 'short'],
      [[1, 0x61], 'short'],
      [[0xc0], 'short'],
      [[0x40, 0], 'name'],
      [[0x80, 0], 'name'],
    ] as const) {
      const reader = new WireReader(Uint8Array.from(wire));
      assert.equal(reader.name(), '.');
      assert.equal(reader.u32(), 0);
      assert.equal(reader.fault?.reason, reason);
    }
  });

  test('whose pointers lead forwards, to themselves or into the header are refused', () => {
    for (const pointer of [12, 13, 14, 0, 11, 0x3fff]) {
      const reader = new WireReader(
        Uint8Array.from([...Array<number>(12).fill(0), 0xc0 | (pointer >> 8), pointer & 0xff, 0]),
      );
      reader.skip(12);
      reader.skipName();
      assert.equal(reader.fault?.reason, 'name', `pointer to ${pointer}`);
    }
  });
});
