/** What only the kernel's own maps can prove. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { formatCidr, parseAddress, parseCidr } from '../../model/address.ts';
import { endpointId } from '../../model/endpoint.ts';
import { identityId } from '../../model/identity.ts';
import { changesOf } from '../../model/mapstate.ts';
import { MAPS, type MapName } from '../../../bpf/gen/maps.ts';
import { ct4Key, ctEntry, encode } from '../../../bpf/gen/structs.ts';
import { BpfMap } from '../../kernel/bpf-map.ts';
import { ConntrackMap } from './conntrack.ts';
import { EndpointPolicy } from './endpoint-policy.ts';
import { IpcacheMap } from './ipcache.ts';
import { decodePolicyEntry, decodePolicyKey } from './policymap.ts';
import { RevisionMap } from './revision.ts';

function create(name: MapName, maxEntries = 1000): BpfMap {
  const { type, keySize, valueSize, flags } = MAPS[name];
  return BpfMap.create({ name, type, keySize, valueSize, flags, maxEntries });
}

describe('maps in the kernel', () => {
  test('an increment under a shorter prefix is a new entry, not a change of the shorter one', async () => {
    using map = create('weir_policy');
    using revisions = create('weir_revision');
    const policy = new EndpointPolicy(endpointId(7), map, new RevisionMap(revisions));
    const key = (portPrefix: number) =>
      ({
        direction: 'ingress',
        identity: identityId(9),
        protocol: 6,
        port: 80 & (0xffff << (16 - portPrefix)),
        portPrefix,
      }) as const;
    const allow = { deny: false, proxyPort: 0, authType: 0, authExplicit: false, precedence: 1, cookie: 0 };
    await policy.replace({ size: 1, entries: () => [[key(0), allow]] });
    const deny = { ...allow, deny: true };
    await policy.update(changesOf([[key(16), { before: undefined, after: deny }]]));
    const held = await Array.fromAsync(map.entries(), ({ key: k, value }) => [
      decodePolicyKey(k).portPrefix,
      decodePolicyEntry(value).deny,
    ]);
    assert.deepEqual(held.sort(), [
      [0, false],
      [16, true],
    ]);
    await policy.update(changesOf([[key(16), { before: deny, after: undefined }]]));
    assert.equal((await Array.fromAsync(map.entries())).length, 1);
  });

  test('a full trie locks the endpoint down', async () => {
    using map = create('weir_policy', 2);
    using revisions = create('weir_revision');
    const policy = new EndpointPolicy(endpointId(7), map, new RevisionMap(revisions));
    const entry = { deny: false, proxyPort: 0, authType: 0, authExplicit: false, precedence: 1, cookie: 0 };
    const key = (id: number) =>
      ({ direction: 'egress', identity: identityId(id), protocol: 0, port: 0, portPrefix: 0 }) as const;
    const entries = [1, 2, 3].map((id) => [key(id), entry] as const);
    await assert.rejects(policy.replace({ size: 3, entries: () => entries }), { code: 'BPF_MAP_FULL' });
    assert.equal(policy.lockedDown, true);
    await policy.replace({ size: 2, entries: () => entries.slice(1) });
    assert.equal(policy.lockedDown, false);
  });

  test('ipcache: both families side by side, pruned to what is wanted', async () => {
    using map = create('weir_ipcache');
    let raised = 0;
    const ipcache = new IpcacheMap(map, () => raised++);
    const entry = (prefix: string, id: number) => ({ prefix: parseCidr(prefix), identity: identityId(id) });
    await ipcache.update([entry('0.0.0.0/0', 2), entry('::/0', 2), entry('10.0.0.1', 300), entry('fd00::1', 300)]);
    await ipcache.update([entry('10.0.0.1', 301)]);
    await ipcache.delete([parseCidr('fd00::1'), parseCidr('fd00::2')]);
    await ipcache.prune([entry('0.0.0.0/0', 2), entry('10.0.0.1', 301)]);
    const held = await Array.fromAsync(ipcache.entries(), (e) => `${formatCidr(e.prefix)}=${e.identity}`);
    assert.deepEqual(held.sort(), ['0.0.0.0/0=2', '10.0.0.1/32=301']);
    assert.equal(raised, 4);
  });

  test('conntrack: expired entries are collected, those of an address go with it', async () => {
    using map = create('weir_ct4', 10_000);
    const local = (n: number) => parseAddress(`10.0.0.${n}`);
    for (let i = 0; i < 5000; i++) {
      const key = encode(ct4Key, {
        local: local(1 + (i % 2)).bytes,
        remote: parseAddress('10.9.9.9').bytes,
        localPort: i,
        remotePort: 80,
        protocol: 6,
        scope: 0,
      });
      const value = { judged: 1n, packets: [1n, 0n], bytes: [60n, 0n], peerIdentity: 9, cookie: 0 } as const;
      const rest = {
        ...{ policyPort: 80, proxyPort: 0, revNat: 0, direction: 1, flags: 0, touched: 0, peerEndpoint: 0 },
        ...{ flagsTraced: new Uint8Array(2), traced: 0, traceDue: 0 },
      } as const;
      map.update(key, encode(ctEntry, { expires: BigInt(i), ...value, ...rest }));
    }
    const conntrack = new ConntrackMap(4, map);
    let seen = 0;
    assert.deepEqual(await conntrack.collect(999n, () => seen++), { alive: 4000, deleted: 1000 });
    assert.equal(seen, 4000);
    assert.deepEqual(await conntrack.deleteLocal([local(1), parseAddress('fd00::1')]), { alive: 2000, deleted: 2000 });
    const left = await Array.fromAsync(conntrack.connections());
    assert.ok(left.every((ct) => ct.local.bytes[3] === 2 && ct.verdict === 'allowed' && ct.direction === 'egress'));
    assert.equal(await conntrack.flush(), 2000);
  });
});
