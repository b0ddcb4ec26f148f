import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { fieldsOf } from './fields.ts';
import { decodeResult, encodeResult, type Result } from './result.ts';
import { SUPPORTED_VERSIONS } from './version.ts';

const RESULT: Result = {
  interfaces: [
    { name: 'wr1', mac: '02:00:00:00:00:01', mtu: 1500 },
    { name: 'eth0', mac: '02:00:00:00:00:02', mtu: 1500, sandbox: '/run/netns/x' },
  ],
  ips: [
    { address: '10.0.0.2/32', gateway: '10.0.0.1', interface: 1 },
    { address: 'fd00::2/128', gateway: 'fd00::1', interface: 1 },
  ],
  routes: [
    { dst: '10.0.0.1/32', scope: 253 },
    { dst: '0.0.0.0/0', gw: '10.0.0.1' },
  ],
  dns: { nameservers: ['10.0.0.10'] },
};

const encoded = (version: (typeof SUPPORTED_VERSIONS)[number]): unknown => JSON.parse(encodeResult(RESULT, version));

test('1.1.0 says everything', () => {
  assert.deepEqual(encoded('1.1.0'), { cniVersion: '1.1.0', ...RESULT });
});

test('1.0.0 has no MTU and no route scope', () => {
  assert.deepEqual(encoded('1.0.0'), {
    cniVersion: '1.0.0',
    interfaces: [
      { name: 'wr1', mac: '02:00:00:00:00:01' },
      { name: 'eth0', mac: '02:00:00:00:00:02', sandbox: '/run/netns/x' },
    ],
    ips: RESULT.ips,
    routes: [{ dst: '10.0.0.1/32' }, { dst: '0.0.0.0/0', gw: '10.0.0.1' }],
    dns: RESULT.dns,
  });
});

test('0.3.1 and 0.4.0 say the family of each address', () => {
  for (const version of ['0.3.1', '0.4.0'] as const) {
    const { cniVersion, ips } = encoded(version) as { cniVersion: string; ips: unknown };
    assert.equal(cniVersion, version);
    assert.deepEqual(ips, [
      { version: '4', address: '10.0.0.2/32', gateway: '10.0.0.1', interface: 1 },
      { version: '6', address: 'fd00::2/128', gateway: 'fd00::1', interface: 1 },
    ]);
  }
});

test('what a version can say survives encoding and decoding', () => {
  const name = fc.stringMatching(/^[a-z0-9]{1,15}$/);
  const link = fc.record({ name, mac: name, sandbox: name }, { requiredKeys: ['name'] });
  const result = fc.record({
    interfaces: fc.array(link, { minLength: 1 }),
    ips: fc.array(fc.record({ address: name, gateway: name }, { requiredKeys: ['address'] })),
    routes: fc.array(fc.record({ dst: name, gw: name }, { requiredKeys: ['dst'] })),
    dns: fc.record({ nameservers: fc.array(name), search: fc.array(name), domain: name }, { requiredKeys: [] }),
  });
  fc.assert(
    fc.property(result, fc.constantFrom(...SUPPORTED_VERSIONS), (some, version) => {
      const back = decodeResult(fieldsOf(JSON.parse(encodeResult(some, version)), ''));
      assert.deepEqual(back, structuredClone(some));
    }),
  );
});
