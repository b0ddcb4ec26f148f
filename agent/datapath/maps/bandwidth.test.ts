import assert from 'node:assert/strict';
import { test } from 'node:test';
import { endpointId } from '../../model/endpoint.ts';
import { MAPS } from '../../../bpf/gen/maps.ts';
import { STATE_EGRESS_LIMITED, STATE_INGRESS_LIMITED, STATE_LOCKDOWN } from '../../../bpf/gen/constants.ts';
import { bandwidth, decode, encode, endpointState, u32 } from '../../../bpf/gen/structs.ts';
import { BandwidthMap, describeBandwidth } from './bandwidth.ts';
import { MemoryMap } from './memory-map.ts';
import { RevisionMap } from './revision.ts';

const ID = endpointId(7);
const SLOW = { rate: 1_250_000, depth: 250_000_000 };
const FAST = { rate: 125_000_000, depth: 250_000_000 };

function bench() {
  const [map, states] = [new MemoryMap(MAPS.weir_bandwidth), new MemoryMap(MAPS.weir_revision)];
  const revisions = new RevisionMap(states);
  const flags = (): number => {
    const bytes = states.lookup(encode(u32, ID));
    return bytes === undefined ? 0 : decode(endpointState, bytes).flags;
  };
  return { map, states, revisions, flags, limits: new BandwidthMap(map, revisions) };
}

test('limits by direction come and go, and the state of the endpoint says which there are', () => {
  const { limits, flags, revisions } = bench();
  revisions.setLockdown(ID, true);
  const revision = revisions.revision(ID);
  limits.set(ID, { egress: SLOW });
  assert.deepEqual(limits.get(ID), { egress: SLOW });
  assert.equal(flags(), STATE_LOCKDOWN | STATE_EGRESS_LIMITED);
  limits.set(ID, { ingress: FAST, egress: FAST });
  assert.deepEqual(limits.get(ID), { ingress: FAST, egress: FAST });
  assert.equal(flags(), STATE_LOCKDOWN | STATE_EGRESS_LIMITED | STATE_INGRESS_LIMITED);
  limits.set(ID, { ingress: FAST });
  assert.deepEqual(limits.get(ID), { ingress: FAST });
  limits.set(ID, {});
  assert.deepEqual(limits.get(ID), {});
  assert.equal(flags(), STATE_LOCKDOWN);
  assert.equal(revisions.revision(ID), revision, 'no verdict depends on it');
});

test('a program that is told to look finds an entry, at every moment', () => {
  const { map, states, limits, flags } = bench();
  const check = (): void => {
    const wanted = (flags() & STATE_INGRESS_LIMITED ? 1 : 0) + (flags() & STATE_EGRESS_LIMITED ? 1 : 0);
    assert.ok(map.held.size >= wanted);
  };
  map.afterChange = check;
  states.afterChange = check;
  for (const wanted of [{ egress: SLOW }, { ingress: SLOW }, { ingress: FAST, egress: FAST }, {}])
    limits.set(ID, wanted);
  assert.equal(map.held.size, 0);
});

test('another limit is no new burst', () => {
  const { map, limits } = bench();
  limits.set(ID, { egress: FAST });
  const [key, value] = [...map.held][0]!;
  map.update(Buffer.from(key, 'hex'), encode(bandwidth, { ...decode(bandwidth, value), paidUntil: 99n }));
  limits.set(ID, { egress: SLOW });
  assert.deepEqual(decode(bandwidth, map.held.get(key)!), { rate: 1_250_000n, depth: 250_000_000n, paidUntil: 99n });
});

test('endpoints that are gone have no limits', async () => {
  const { map, states, limits } = bench();
  const other = endpointId(8);
  limits.set(ID, { ingress: SLOW, egress: SLOW });
  limits.set(other, { egress: SLOW });
  await limits.prune((id) => id === other);
  assert.deepEqual([limits.get(ID), limits.get(other)], [{}, { egress: SLOW }]);
  assert.equal(map.held.size, 1);
  assert.equal(decode(endpointState, states.lookup(encode(u32, ID))!).flags, 0);
});

test('in words', () => {
  const { map, limits } = bench();
  limits.set(ID, { egress: SLOW });
  const [[key, value]] = [...map.held] as [[string, Buffer]];
  assert.deepEqual(describeBandwidth(Buffer.from(key, 'hex'), value), {
    key: 'endpoint 7 egress',
    value: 'rate=10M burst=312500',
    fields: { endpoint: 7, direction: 'egress', 'bits-per-second': 10_000_000, 'burst-bytes': 312_500 },
  });
});
