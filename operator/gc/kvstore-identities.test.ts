import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { HEARTBEAT, IDENTITIES, idKey, labelsKey, labelsText, userKey } from '../../agent/kvstore/layout.ts';
import { labelsOf, StoreNode } from '../../agent/kvstore/testing.ts';
import type { EtcdClient } from '../../agent/kvstore/etcd/client.ts';
import type { Identity } from '../../agent/model/identity.ts';
import { ManualClock } from '../../agent/model/manual-clock.ts';
import { systemClock } from '../../agent/model/clock.ts';
import { KubeApiServer } from '../../test/fakes/kube-apiserver/server.ts';
import { Etcd } from '../../test/harness/etcd.ts';
import { waitFor } from '../../test/harness/wait.ts';
import { KvstoreHeartbeat } from '../kvstore-heartbeat.ts';
import { clientOf, contextOf } from '../testing.ts';
import { KvstoreIdentityGc } from './kvstore-identities.ts';

const TIMEOUT_MS = 60_000;

describe('identities in etcd that nobody uses', { timeout: 120_000 }, () => {
  let etcd: Etcd;
  let api: KubeApiServer;
  let client: EtcdClient;
  before(async () => {
    etcd = await Etcd.start();
    client = etcd.client();
    api = await new KubeApiServer({ tls: false }).start();
  });
  after(async () => {
    client[Symbol.dispose]();
    await etcd[Symbol.asyncDispose]();
    await api.stop();
  });

  const gcOf = (clock: ManualClock, mostPerRound = 100): KvstoreIdentityGc => {
    const options = { intervalMs: 1000, heartbeatTimeoutMs: TIMEOUT_MS, mostPerRound };
    return new KvstoreIdentityGc(contextOf(clientOf(api), clock), client, options);
  };
  const { signal } = new AbortController();

  test('are deleted when they have been without users for long, with both keys; one in use never is', async () => {
    await using node = new StoreNode('n1', etcd.url);
    const clock = new ManualClock(1_000_000);
    const gc = gcOf(clock);
    const used = await node.identities.agree(labelsOf('k8s:app=used'));
    const unused = await node.identities.agree(labelsOf('k8s:app=unused'));
    await node.identities.sync([used]);
    await node.identities.sync([used]);
    await gc.round(signal);
    await clock.advance(TIMEOUT_MS - 1);
    await gc.round(signal);
    assert.ok(await client.get(idKey(unused.id)), 'not yet');
    await clock.advance(1);
    await gc.round(signal);
    assert.equal(await client.get(idKey(unused.id)), undefined);
    assert.equal(await client.get(labelsKey(labelsText(unused.labels))), undefined);
    assert.ok(await client.get(idKey(used.id)));
    assert.notEqual((await node.identities.agree(unused.labels)).id, 0);
  });

  test('what was used in between begins anew; what is taken at the last moment is kept', async () => {
    await using node = new StoreNode('n1', etcd.url);
    const clock = new ManualClock(1_000_000);
    const gc = gcOf(clock);
    const identity = await node.identities.agree(labelsOf('k8s:app=late'));
    const release = async (): Promise<void> => {
      await node.identities.sync([]);
      await node.identities.sync([]);
    };
    await release();
    await gc.round(signal);
    assert.equal(await node.identities.reuse(identity), true);
    await clock.advance(TIMEOUT_MS);
    await gc.round(signal);
    assert.ok(await client.get(idKey(identity.id)));
    await release();
    // A node takes it after the operator has looked, and before it deletes.
    let race = false;
    const store: ConstructorParameters<typeof KvstoreIdentityGc>[1] = {
      list: async (prefix) => {
        const listing = await client.list(prefix);
        if (race && prefix === IDENTITIES.byUser) assert.equal(await node.identities.reuse(identity), true);
        return listing;
      },
      get: (key) => client.get(key),
      txn: (...words) => client.txn(...words),
    };
    const options = { intervalMs: 1000, heartbeatTimeoutMs: 0, mostPerRound: 100 };
    const racing = new KvstoreIdentityGc(contextOf(clientOf(api), clock), store, options);
    await racing.round(signal);
    race = true;
    await racing.round(signal);
    assert.ok(await client.get(idKey(identity.id)), 'the node was first');
    assert.ok(await client.get(userKey(labelsText(identity.labels), 'n1')));
  });

  test('a thousand times, a node that takes an identity while it is deleted has one that stays', async (t) => {
    await using node = new StoreNode('n1', etcd.url);
    const clock = new ManualClock(1_000_000);
    const options = { intervalMs: 1000, heartbeatTimeoutMs: 0, mostPerRound: 100 };
    const labels = labelsOf('k8s:app=contested');
    const context = contextOf(clientOf(api), clock);
    const key = userKey(labelsText(labels), 'n1');
    let deleted = 0;
    for (let round = 0; round < 1000; round++) {
      const before = await node.identities.agree(labels);
      const made = (await client.get(idKey(before.id)))?.createRevision;
      await client.delete(key);
      node.identities.missing(before.id);
      let requests = 0;
      let taking: Promise<Identity> | undefined;
      /** The node comes with one request of the operator or another, or after them all. */
      const meanwhile = <T>(request: Promise<T>): Promise<T> => {
        if (requests++ === 2 + (round % 5)) taking = node.identities.agree(labels);
        return request;
      };
      const gc = new KvstoreIdentityGc(
        context,
        {
          list: (prefix) => meanwhile(client.list(prefix)),
          get: (name) => meanwhile(client.get(name)),
          txn: (...words) => meanwhile(client.txn(...words)),
        },
        options,
      );
      await gc.round(signal);
      await gc.round(signal);
      const after = await (taking ?? node.identities.agree(labels));
      const [byId, byLabels, own] = await Promise.all(
        [idKey(after.id), labelsKey(labelsText(labels)), key].map((name) => client.get(name)),
      );
      assert.equal(byId?.value, labelsText(labels), `round ${round}`);
      assert.equal(byLabels?.value, String(after.id));
      assert.equal(own?.value, String(after.id));
      if (byId.createRevision !== made) deleted++;
    }
    t.diagnostic(`the operator was first ${deleted} times`);
    assert.ok(deleted > 0 && deleted < 1000, 'each is first now and then');
    const { entries } = await client.list(IDENTITIES.byId);
    assert.equal(entries.filter(({ value }) => value === labelsText(labels)).length, 1);
  });

  test('no more than so many a round', async () => {
    await using node = new StoreNode('n1', etcd.url);
    const clock = new ManualClock(1_000_000);
    const gc = gcOf(clock, 1);
    for (const name of ['a', 'b', 'c']) await node.identities.agree(labelsOf(`k8s:many=${name}`));
    await node.identities.sync([]);
    await node.identities.sync([]);
    const count = async (): Promise<number> =>
      (await client.list(IDENTITIES.byId)).entries.filter(({ value }) => value.startsWith('k8s:many')).length;
    for (let i = 0; i < 10; i++) {
      await gc.round(signal);
      await clock.advance(TIMEOUT_MS);
    }
    assert.equal(await count(), 0);
  });

  test('the heartbeat says when the operator wrote, and how the store stands', async () => {
    const stop = new AbortController();
    const heartbeat = new KvstoreHeartbeat(contextOf(clientOf(api), systemClock), client);
    const running = heartbeat.run(stop.signal);
    try {
      const beat = await waitFor('a beat', () => client.get(HEARTBEAT));
      assert.ok(Math.abs(Date.parse(beat.value) - Date.now()) < 60_000);
      assert.notEqual(beat.lease, '0');
      assert.match(heartbeat.status, /^etcd http.*: ok$/);
    } finally {
      stop.abort();
      await running;
    }
  });
});
