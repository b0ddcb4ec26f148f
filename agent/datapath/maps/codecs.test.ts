import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { formatCidr, maskAddress, parseAddress, parseCidr, type Address } from '../../model/address.ts';
import type { IpcacheEntry } from '../../model/datapath.ts';
import { endpointId, ifIndex } from '../../model/endpoint.ts';
import { identityId } from '../../model/identity.ts';
import { parseMac } from '../../model/mac.ts';
import type { PolicyEntry, PolicyKey } from '../../model/mapstate.ts';
import { decodeIpcacheEntry, describeIpcacheEntry, encodeIpcacheKey, encodeIpcacheValue } from './ipcache.ts';
import { decodeLxcKey, decodeLxcValue, describeLxcEntry, encodeLxcKey, encodeLxcValue } from './lxc.ts';
import {
  decodePolicyEntry,
  decodePolicyKey,
  describePolicyEntry,
  encodePolicyEntry,
  encodePolicyKey,
  policyValues,
  portText,
} from './policymap.ts';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

const address: fc.Arbitrary<Address> = fc.oneof(
  fc.uint8Array({ minLength: 4, maxLength: 4 }).map((bytes): Address => ({ family: 4, bytes })),
  fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes): Address => ({ family: 6, bytes })),
);
const cidr = fc.tuple(address, fc.nat(128)).map(([at, bits]) => {
  const length = bits % (at.bytes.length * 8 + 1);
  return { address: maskAddress(at, length), length };
});
const u32 = fc.nat(0xffff_ffff);

const key: fc.Arbitrary<PolicyKey> = fc
  .record({
    direction: fc.constantFrom('ingress', 'egress'),
    identity: u32.map(identityId),
    protocol: fc.nat(255),
    port: fc.nat(0xffff),
    portPrefix: fc.nat(16),
  })
  .map((k) => {
    const portPrefix = k.protocol === 0 ? 0 : k.portPrefix;
    return { ...k, portPrefix, port: k.port & (0xffff << (16 - portPrefix)) & 0xffff };
  });
const entry: fc.Arbitrary<PolicyEntry> = fc.record(
  {
    deny: fc.boolean(),
    proxyPort: fc.nat(0xffff),
    authType: fc.nat(255),
    authExplicit: fc.boolean(),
    precedence: u32,
    cookie: u32,
    audited: fc.constant(true),
  },
  {
    noNullPrototype: true,
    requiredKeys: ['deny', 'proxyPort', 'authType', 'authExplicit', 'precedence', 'cookie'],
  },
);

describe('policy entries', () => {
  test('come back as they went, and equal keys have equal bytes', () => {
    fc.assert(
      fc.property(key, entry, (k, e) => {
        assert.deepEqual(decodePolicyKey(encodePolicyKey(k)), k);
        assert.deepEqual(decodePolicyEntry(encodePolicyEntry(k, e)), e);
        assert.ok(policyValues.decidesAlike(encodePolicyEntry(k, e), encodePolicyEntry(k, { ...e, cookie: 1 })));
      }),
    );
  });

  test('stand in memory as bpf/lib/types.h says', () => {
    const http: PolicyKey = {
      direction: 'egress',
      identity: identityId(0x01020304),
      protocol: 6,
      port: 0x0050,
      portPrefix: 16,
    };
    assert.equal(hex(encodePolicyKey(http)), '40000000' + '04030201' + '01' + '06' + '0050');
    const any = { ...http, protocol: 0, port: 0, portPrefix: 0 };
    assert.equal(hex(encodePolicyKey(any)), '28000000' + '04030201' + '01' + '00' + '0000');
    const deny: PolicyEntry = {
      deny: true,
      proxyPort: 0x1234,
      authType: 1,
      authExplicit: true,
      precedence: 0x0a0b0c0d,
      cookie: 7,
    };
    // 24 bits past the static ones, shifted by 3, with both flags.
    assert.equal(hex(encodePolicyEntry(http, deny)), '1234' + 'c3' + '01' + '0d0c0b0a' + '07000000');
  });

  test('say their ports as people write them', () => {
    const of = (protocol: number, port: number, portPrefix: number) =>
      portText({ direction: 'ingress', identity: identityId(0), protocol, port, portPrefix });
    assert.deepEqual([of(0, 0, 0), of(6, 0, 0), of(6, 80, 16), of(17, 64, 12)], ['ANY', 'TCP', '80/TCP', '64-79/UDP']);
    const k: PolicyKey = { direction: 'ingress', identity: identityId(7), protocol: 6, port: 80, portPrefix: 16 };
    const value = encodePolicyEntry(k, decodePolicyEntry(policyValues.guard(encodePolicyKey(k))));
    assert.equal(describePolicyEntry(encodePolicyKey(k), value).key, 'Ingress: 7 80/TCP');
  });

  test('only an allow without conditions is plain', () => {
    fc.assert(
      fc.property(key, entry, (k, e) => {
        const plain = !e.deny && e.proxyPort === 0 && e.authType === 0 && !e.authExplicit;
        assert.equal(policyValues.isPlainAllow(encodePolicyEntry(k, e)), plain);
      }),
    );
  });
});

describe('ipcache entries', () => {
  test('come back as they went', () => {
    const option = fc.option(address, { nil: undefined });
    fc.assert(
      fc.property(cidr, u32, option, (prefix, identity, tunnelEndpoint) => {
        const e: IpcacheEntry = { prefix, identity: identityId(identity), ...(tunnelEndpoint && { tunnelEndpoint }) };
        assert.deepEqual(decodeIpcacheEntry(encodeIpcacheKey(prefix), encodeIpcacheValue(e)), e);
      }),
    );
  });

  test('are bytes in network order behind a family that no prefix can leave open', () => {
    assert.equal(hex(encodeIpcacheKey(parseCidr('10.1.0.0/16'))), '30000000' + '00000004' + '0a01' + '00'.repeat(14));
    const prefix = parseCidr('fd00::/8');
    const value = encodeIpcacheValue({ prefix, identity: identityId(300), tunnelEndpoint: parseAddress('192.0.2.7') });
    assert.deepEqual(describeIpcacheEntry(encodeIpcacheKey(prefix), value), {
      key: formatCidr(prefix),
      value: 'identity=300 encryptkey=0 tunnelendpoint=192.0.2.7 flags=hastunnel',
      fields: { prefix: 'fd00::/8', identity: 300, 'tunnel-endpoint': '192.0.2.7' },
    });
  });
});

describe('local deliveries', () => {
  test('come back as they went', () => {
    fc.assert(
      fc.property(address, fc.boolean(), (at, host) => {
        const delivery = {
          id: endpointId(7),
          identity: identityId(70000),
          ifIndex: ifIndex(12),
          mac: parseMac('02:00:00:00:00:01'),
          hostMac: parseMac('02:00:00:00:00:02'),
          host,
        };
        assert.deepEqual(decodeLxcKey(encodeLxcKey(at)), at);
        assert.deepEqual(decodeLxcValue(encodeLxcValue(delivery)), delivery);
        const told = describeLxcEntry(encodeLxcKey(at), encodeLxcValue(delivery));
        assert.equal(told.value.startsWith('(localhost)'), host);
      }),
    );
  });
});
