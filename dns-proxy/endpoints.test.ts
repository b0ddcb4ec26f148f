import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress } from '../agent/model/address.ts';
import { addressKey } from './address-key.ts';
import type { EndpointNames } from './contract.ts';
import { Endpoints } from './endpoints.ts';
import { ServerIdentities } from './server-identities.ts';

function named(endpoint: number, addresses: readonly string[], pattern = '*'): EndpointNames {
  const rules = [{ protocol: 17, port: 53, endPort: 0, peers: undefined, names: [{ matchPattern: pattern }] }];
  return { endpoint, identity: 1000 + endpoint, addresses, rules };
}
const at = (endpoints: Endpoints, address: string): number | undefined =>
  endpoints.at(addressKey(parseAddress(address)))?.id;
const QUERY = { server: 9, protocol: 17, port: 53, name: 'www.cilium.io.' } as const;

test('endpoints are found by their addresses, and go with them', () => {
  const endpoints = new Endpoints();
  endpoints.replace([named(1, ['10.0.0.1', 'fd00::1']), named(2, ['10.0.0.2'])]);
  assert.deepEqual(
    ['10.0.0.1', 'fd00::1', '10.0.0.2', '10.0.0.3', 'fd00::2'].map((address) => at(endpoints, address)),
    [1, 1, 2, undefined, undefined],
  );
  // An address that moves is its new owner's, whatever becomes of the old one.
  endpoints.change({ endpoints: [named(3, ['10.0.0.1'])] });
  endpoints.change({ removed: [1] });
  assert.deepEqual([at(endpoints, '10.0.0.1'), at(endpoints, 'fd00::1')], [3, undefined]);
  assert.deepEqual(endpoints.replace([named(2, ['10.0.0.9'])]), [3], 'who is no more');
  assert.deepEqual([at(endpoints, '10.0.0.2'), at(endpoints, '10.0.0.9'), endpoints.size], [undefined, 2, 1]);
});

test('an endpoint keeps what it has going on when its rules change', () => {
  const endpoints = new Endpoints();
  endpoints.replace([named(1, ['10.0.0.1'])]);
  const endpoint = endpoints.at(addressKey(parseAddress('10.0.0.1')))!;
  endpoint.inFlight = 3;
  assert.equal(endpoints.decide(endpoint, QUERY), 'allowed');
  endpoints.change({ endpoints: [named(1, ['10.0.0.1'], '*.example.com')] });
  assert.equal(endpoints.at(addressKey(parseAddress('10.0.0.1')))!.inFlight, 3);
  assert.equal(endpoints.decide(endpoint, QUERY), 'name');
});

test('addresses of both families have keys of their own', () => {
  const texts = ['0.0.0.0', '255.255.255.255', '1.2.3.4', '::', '::1.2.3.4', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'];
  assert.equal(new Set(texts.map((text) => addressKey(parseAddress(text)))).size, texts.length);
});

test('a server’s identity is looked up once, until something changes', () => {
  let revision = 1n;
  let lookups = 0;
  const table = new Map<string, number>([['1,2,3,4', 700]]);
  const identities = new ServerIdentities({
    lookup: ({ bytes }) => {
      lookups++;
      return table.get(bytes.join(','));
    },
    revision: () => revision,
  });
  const [known, unknown, six] = ['1.2.3.4', '9.9.9.9', '2001:db8::1'].map(parseAddress) as [never, never, never];
  assert.deepEqual([identities.of(known), identities.of(unknown), identities.of(six)], [700, 9, 10]);
  identities.of(known);
  assert.equal(lookups, 3);
  table.set('1,2,3,4', 701);
  revision++;
  assert.equal(identities.of(known), 701);
});
