import assert from 'node:assert/strict';
import { test } from 'node:test';
import { requireSeparatePorts } from './local-ports.ts';

test('ports of the node and of connections under its address are not to overlap', () => {
  requireSeparatePorts(() => '32768\t60999\n');
  for (const range of ['1024\t65535\n', '32768 61000']) {
    assert.throws(() => requireSeparatePorts(() => range), { code: 'PORTS_OVERLAP' });
  }
});
