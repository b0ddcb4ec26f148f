import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Etcd } from '../../test/harness/etcd.ts';
import { waitFor } from '../../test/harness/wait.ts';
import { WeirError } from '../model/errors.ts';
import { identityId } from '../model/identity.ts';
import { IDENTITIES, idKey, labelsKey, labelsText, userKey } from './layout.ts';
import { labelsOf, StoreNode } from './testing.ts';

describe('identities in etcd', { timeout: 300_000 }, () => {
  let etcd: Etcd;
  before(async () => {
    etcd = await Etcd.start();
  });
  after(async () => {
    await etcd[Symbol.asyncDispose]();
  });

  const nodes = (count: number, options = {}): { all: StoreNode[] } & AsyncDisposable => {
    const all = Array.from({ length: count }, (_, i) => new StoreNode(`node${i}`, etcd.url, options));
    return {
      all,
      [Symbol.asyncDispose]: async () => {
        await Promise.all(all.map((node) => node[Symbol.asyncDispose]()));
      },
    };
  };

  test('three nodes that want the same new labels at one moment get one identity, a thousand times', async () => {
    await using cluster = nodes(3);
    const first = cluster.all[0]!;
    for (let round = 0; round < 1000; round++) {
      const labels = labelsOf('k8s:app=race', `k8s:round=${round}`);
      // Preferences must not lead to different numbers.
      const preferred = (i: number) => (round % 3 === 0 ? identityId(300 + ((round * 7 + i) % 5000)) : undefined);
      const got = await Promise.all(cluster.all.map(({ identities }, i) => identities.agree(labels, preferred(i))));
      assert.equal(new Set(got.map(({ id }) => id)).size, 1, `round ${round}: ${got.map(({ id }) => id).join()}`);
    }
    const { entries } = await first.client.list(IDENTITIES.byId);
    const raced = entries.filter(({ value }) => value.includes('app=race'));
    assert.equal(raced.length, 1000);
    assert.equal(new Set(raced.map(({ value }) => value)).size, 1000, 'no label set stands twice');
    const users = await first.client.list(IDENTITIES.byUser);
    assert.equal(users.entries.filter(({ key }) => key.includes('app=race')).length, 3000);
  });

  test('the keys are Cilium’s, the node’s own ends with its lease', async () => {
    await using cluster = nodes(1);
    const [{ identities, client, session }] = cluster.all as [StoreNode];
    const labels = labelsOf('k8s:io.kubernetes.pod.namespace=default', 'k8s:app=web', 'k8s:empty');
    const { id } = await identities.agree(labels);
    const text = 'k8s:app=web;k8s:empty=;k8s:io.kubernetes.pod.namespace=default;';
    assert.equal((await client.get(`cilium/state/identities/v1/id/${id}`))?.value, text);
    const own = await client.get(`cilium/state/identities/v1/value/${text}/node0`);
    assert.equal(own?.value, String(id));
    assert.equal(own.lease, session.state.lease);
    assert.equal((await client.get(idKey(id)))?.lease, '0');
  });

  test('an identity that is there is used again, under its number; a number that is taken goes to nobody else', async () => {
    await using cluster = nodes(2);
    const [one, two] = cluster.all as [StoreNode, StoreNode];
    const labels = labelsOf('k8s:app=again');
    const identity = await one.identities.agree(labels);
    assert.equal((await two.identities.agree(labels, identityId(4711))).id, identity.id);
    assert.equal((await two.identities.agree(labelsOf('k8s:app=other'), identity.id)).id === identity.id, false);
    assert.equal(await two.identities.reuse(identity), true);
    assert.equal(await two.identities.reuse({ id: identityId(60_000), labels: labelsOf('k8s:app=unheard') }), false);
  });

  test('when all numbers are taken, that is said', async () => {
    await using cluster = nodes(1, { last: 257 });
    const [{ identities, client }] = cluster.all as [StoreNode];
    for (const id of [256, 257]) await client.put(idKey(id), `k8s:taken=${id};`);
    await assert.rejects(identities.agree(labelsOf('k8s:app=too-many')), { code: 'IDENTITY_EXHAUSTED' });
  });

  test('what was made by hand, or by another tool, is taken over; what was half deleted is mended', async () => {
    await using cluster = nodes(1);
    const [{ identities, client }] = cluster.all as [StoreNode];
    const labels = labelsOf('k8s:app=foreign');
    await client.put(idKey(5000), labelsText(labels));
    assert.equal((await identities.agree(labels, identityId(5000))).id, 5000);
    assert.equal((await client.get(labelsKey(labelsText(labels))))?.value, '5000');
    const half = labelsOf('k8s:app=half');
    const { id } = await identities.agree(half);
    await client.delete(idKey(id));
    assert.equal((await identities.agree(half)).id, id);
    assert.equal((await client.get(idKey(id)))?.value, labelsText(half));
    await client.put(idKey(id), 'k8s:app=usurper;');
    assert.notEqual((await identities.agree(half)).id, id);
  });

  test('what is not used any more is let go, after a while; what is used again in between is not', async () => {
    await using cluster = nodes(1);
    const [{ identities, client }] = cluster.all as [StoreNode];
    const identity = await identities.agree(labelsOf('k8s:app=idle'));
    const own = userKey(labelsText(identity.labels), 'node0');
    await identities.sync([identity]);
    await identities.sync([]);
    assert.ok(await client.get(own), 'a look is not enough');
    await identities.sync([identity]);
    await identities.sync([]);
    assert.ok(await client.get(own), 'it was used in between');
    assert.equal(await identities.reuse(identity), true);
    await identities.sync([]);
    assert.ok(await client.get(own));
    await identities.sync([]);
    assert.equal(await client.get(own), undefined);
    assert.ok(await client.get(idKey(identity.id)), 'the identity itself is the operator’s to collect');
  });

  test('a store that has lost everything gets the identities in use again, under their numbers', async () => {
    await using own = await Etcd.start();
    await using node = new StoreNode('node0', own.url);
    const identity = await node.identities.agree(labelsOf('k8s:app=lost'), identityId(777));
    const lease = node.session.state.lease;
    await own.wipe();
    node.session.check();
    await waitFor('another lease', () => node.leases.length > 1 && node.leases.at(-1) !== lease, 30_000);
    node.identities.forgetLease();
    assert.deepEqual(await node.identities.sync([identity]), []);
    assert.equal((await node.client.get(idKey(777)))?.value, 'k8s:app=lost;');
    // A number that has gone to others meanwhile is theirs.
    const second = await node.identities.agree(labelsOf('k8s:app=second'), identityId(778));
    await own.wipe();
    node.session.check();
    await waitFor('another lease', () => node.leases.length > 2, 30_000);
    await node.client.put(idKey(778), 'k8s:app=stranger;');
    node.identities.forgetLease();
    assert.deepEqual(await node.identities.sync([second]), [second]);
  });

  test('away, the store keeps nobody from what is known; what is not known fails in bounded time', async () => {
    await using own = await Etcd.start();
    await using node = new StoreNode('node0', own.url);
    await using other = new StoreNode('node1', own.url);
    const known = await other.identities.agree(labelsOf('k8s:app=known'));
    await node.session.lease(5_000);
    await own.halt();
    await assert.rejects(node.identities.reuse(known), { code: 'KVSTORE_UNREACHABLE' });
    node.used.add(known.id);
    assert.equal(await node.identities.reuse(known), true);
    const begun = Date.now();
    await assert.rejects(node.identities.agree(labelsOf('k8s:app=unknown')), (error: unknown) => {
      assert.ok(error instanceof WeirError);
      assert.equal(error.code, 'KVSTORE_UNREACHABLE');
      assert.match(error.describe(), /etcd http:\/\/127\.0\.0\.1/);
      return true;
    });
    assert.ok(Date.now() - begun < 10_000);
    await own.resume();
    await waitFor('the store', async () => (await node.identities.sync([known])).length === 0, 20_000);
    assert.equal((await node.client.get(userKey('k8s:app=known;', 'node0')))?.value, String(known.id));
  });

  test('a node that goes on after a restart has its lease, and lets go of what it does not use', async () => {
    await using own = await Etcd.start();
    const path = `${process.env['TMPDIR'] ?? '/tmp'}/weir-test-${process.pid}-${Date.now().toString(16)}.json`;
    const labels = labelsOf('k8s:app=stays');
    let lease: string | undefined;
    {
      await using node = new StoreNode('node0', own.url, { path });
      await node.identities.agree(labels);
      await node.identities.agree(labelsOf('k8s:app=goes'));
      lease = node.session.state.lease;
    }
    await using node = new StoreNode('node0', own.url, { path });
    const stays = await node.identities.agree(labels);
    assert.equal(node.session.state.lease, lease);
    await node.identities.prune();
    assert.equal((await node.client.get(userKey('k8s:app=stays;', 'node0')))?.value, String(stays.id));
    assert.equal(await node.client.get(userKey('k8s:app=goes;', 'node0')), undefined);
  });
});
