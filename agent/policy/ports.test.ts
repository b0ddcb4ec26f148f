import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { keyCovers, keyPort, keyPrefix, keyProtocol, maskedPorts, portKey, portMask } from './ports.ts';

const port = fc.integer({ min: 0, max: 65535 });

test('a port key gives back what it was made of', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 255 }), port, fc.integer({ min: 0, max: 16 }), (protocol, number, prefix) => {
      const masked = number & portMask(prefix);
      const key = portKey(protocol, masked, prefix);
      assert.deepEqual([keyProtocol(key), keyPort(key), keyPrefix(key)], [protocol, masked, prefix]);
    }),
  );
});

test('masked ports are exactly the range, each port once', () => {
  fc.assert(
    fc.property(port, port, port, (start, end, probe) => {
      const last = end <= start ? (start === 0 ? 65535 : start) : end;
      const matching = maskedPorts(start, end).filter((masked) => (probe & portMask(masked.prefix)) === masked.port);
      assert.equal(matching.length, probe >= start && probe <= last ? 1 : 0);
    }),
  );
});

test('an end not above the start means the one port', () => {
  assert.deepEqual(maskedPorts(80, 79), [{ port: 80, prefix: 16 }]);
  assert.deepEqual(maskedPorts(0, 0), [{ port: 0, prefix: 0 }]);
});

test('a key covers what is narrower, and nothing of another protocol', () => {
  assert.ok(keyCovers(0, portKey(6, 80, 16)));
  assert.ok(keyCovers(portKey(6, 0, 0), portKey(6, 80, 16)));
  assert.ok(keyCovers(portKey(6, 80, 13), portKey(6, 87, 16)));
  assert.ok(!keyCovers(portKey(6, 80, 16), portKey(6, 80, 13)));
  assert.ok(!keyCovers(portKey(17, 0, 0), portKey(6, 80, 16)));
  assert.ok(!keyCovers(portKey(6, 0, 0), 0));
});
