import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress } from '../../model/address.ts';
import { NAT_IN, NAT_OUT } from '../../../bpf/gen/constants.ts';
import { MAPS } from '../../../bpf/gen/maps.ts';
import { encode, natEntry, natKey } from '../../../bpf/gen/structs.ts';
import { MemoryMap } from './memory-map.ts';
import { describeNat, NatMap } from './nat.ts';

const SERVER = parseAddress('203.0.113.1').bytes;
const REMOTE = { remote: SERVER, remotePort: 443, protocol: 6, family: 4 } as const;
const ENTRY = { expires: 0n, touched: 0, flags: 0, service: 0 } as const;

interface Side {
  readonly client: string;
  readonly clientPort: number;
  readonly node?: string;
  readonly port: number;
  readonly expires?: bigint;
  readonly service?: number;
}

function out({ client, clientPort, node = '192.0.2.1', port, service = 0 }: Side): [Uint8Array, Uint8Array] {
  return [
    encode(natKey, { ...REMOTE, local: parseAddress(client).bytes, localPort: clientPort, service, way: NAT_OUT }),
    encode(natEntry, { ...ENTRY, addr: parseAddress(node).bytes, port }),
  ];
}

function back({
  client,
  clientPort,
  node = '192.0.2.1',
  port,
  expires = 100n,
  service = 0,
}: Side): [Uint8Array, Uint8Array] {
  return [
    encode(natKey, { ...REMOTE, local: parseAddress(node).bytes, localPort: port, service: 0, way: NAT_IN }),
    encode(natEntry, { ...ENTRY, addr: parseAddress(client).bytes, port: clientPort, expires, service }),
  ];
}

function mapOf(...sides: readonly (readonly [Uint8Array, Uint8Array])[]) {
  const map = new MemoryMap(MAPS.weir_nat);
  for (const [key, value] of sides) map.update(key, value);
  const left = (): string[] =>
    [...map.held].map(([key, value]) => describeNat(() => 0n)(Buffer.from(key, 'hex'), value).key).sort();
  return { nat: new NatMap(map), left, map };
}

const both = (side: Side) => [out(side), back(side)];
const A: Side = { client: '10.0.0.1', clientPort: 4000, port: 61000 };
const B: Side = { client: '10.0.0.2', clientPort: 4000, port: 61001 };
const OUT_A = 'TCP OUT 10.0.0.1:4000 -> 203.0.113.1:443';
const IN_A = 'TCP IN 203.0.113.1:443 -> 192.0.2.1:61000';

test('a connection goes with both of its entries when its time is over', async () => {
  const { nat, left } = mapOf(...both(A), ...both({ ...B, expires: 50n }));
  assert.deepEqual(await nat.collect(50n), { alive: 1, deleted: 2 });
  assert.deepEqual(left(), [IN_A, OUT_A]);
});

test('an entry whose other one is gone, or somebody else has its port, goes', async () => {
  const { nat, left } = mapOf(...both(A), out({ ...B, port: A.port }), out({ ...B, clientPort: 5000 }));
  await nat.collect(0n);
  assert.deepEqual(left(), [IN_A, OUT_A]);
});

test('a connection that goes on while it is looked through is not told to begin anew', async () => {
  const { nat, left, map } = mapOf(...both(A), out(B));
  const scan = map.entries.bind(map);
  map.entries = async function* () {
    yield* scan();
    // A was about to end and goes on; the scan was past what answers to B look like when they came.
    for (const [key, value] of [back({ ...A, expires: 500n }), back(B)]) map.update(key, value);
  };
  assert.deepEqual(await nat.collect(100n), { alive: 0, deleted: 0 });
  assert.equal(left().length, 4);
});

test('what is answered lives without what is sent: the next packet brings that back', async () => {
  const { nat, left } = mapOf(back(A));
  await nat.collect(0n);
  assert.deepEqual(left(), [IN_A]);
});

test('connections of a pod that is gone go; a client from outside that happens to have its address stays', async () => {
  const { nat, left } = mapOf(...both(A), ...both(B), ...both({ ...A, port: 61002, service: 7 }));
  await nat.deleteClients([parseAddress('10.0.0.1')]);
  assert.deepEqual(
    left().filter((key) => key.includes('OUT')),
    [OUT_A, 'TCP OUT 10.0.0.2:4000 -> 203.0.113.1:443'],
  );
});

test('connections under an address that the node lost go', async () => {
  const { nat, left } = mapOf(...both(A), ...both({ ...B, node: '192.0.2.9' }));
  await nat.keepAddresses(['192.0.2.1', '::1'].map(parseAddress));
  assert.deepEqual(left(), [IN_A, OUT_A]);
});

test('flushing forgets all', async () => {
  const { nat, left } = mapOf(...both(A), ...both(B));
  assert.equal(await nat.flush(), 4);
  assert.deepEqual(left(), []);
});
