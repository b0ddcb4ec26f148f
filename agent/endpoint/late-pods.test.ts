/** Endpoints whose Pod objects come from an API server: late, again, and with other labels. */
import assert from 'node:assert/strict';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { formatLabel } from '../model/labels.ts';
import type { Endpoint } from './endpoint.ts';
import { openBench, type Bench } from './testing.ts';

describe('endpoints of pods that an API server tells of', () => {
  let bench: Bench;
  beforeEach(async () => {
    bench = await openBench(undefined, undefined, { podWaitMs: 10_000, identityGraceMs: 400 });
    await bench.manager.activate();
  });
  afterEach(() => bench[Symbol.dispose]());

  const add = (podUid?: string): Promise<Endpoint> =>
    bench.manager.create({
      attachment: {
        ...{ containerId: 'c', containerIfName: 'eth0', netns: '/run/netns/c', namespace: 'shop', podName: 'web' },
        ...(podUid !== undefined && { podUid }),
      },
    });
  const pod = (app: string, uid = 'u1'): void =>
    bench.pods.setPod('shop', 'web', { labels: { app }, serviceAccount: 'default', namedPorts: [], uids: [uid] });
  const namespace = (team: string): void => bench.pods.setNamespace('shop', { team });
  const labelsOf = (endpoint: Endpoint): string => endpoint.labels.identity.map(formatLabel).join(' ');
  const turns = async (): Promise<void> => {
    for (let i = 0; i < 20; i++) await nextTurn();
  };
  /** Whether ADD has answered. */
  const watch = (adding: Promise<Endpoint>) => {
    const seen = { answered: false };
    void adding.then(() => (seen.answered = true));
    return seen;
  };

  test('ADD waits for the pod and for its namespace', async () => {
    const adding = add('u1');
    const seen = watch(adding);
    await turns();
    pod('web');
    await turns();
    assert.equal(seen.answered, false, 'the namespace may have labels, too');
    namespace('a');
    const endpoint = await adding;
    assert.match(labelsOf(endpoint), /k8s:app=web .*namespace\.labels\.team=a/);
    assert.equal(bench.datapath.installed.get(endpoint.id)!.program.identity, endpoint.identity!.id);
    assert.equal(bench.datapath.calls.filter((call) => call.startsWith('install')).length, 1, 'never under another');
  });

  test('an older pod of the same name is not taken for the new one', async () => {
    namespace('a');
    pod('old', 'u0');
    const adding = add('u1');
    const seen = watch(adding);
    await turns();
    assert.equal(seen.answered, false);
    pod('new', 'u1');
    assert.match(labelsOf(await adding), /app=new/);
  });

  test('a pod that does not become known starts as init, enforced, and is re-identified when it does', async () => {
    const adding = add('u1');
    await turns();
    await bench.clock.advance(10_000);
    const endpoint = await adding;
    assert.equal(endpoint.identity?.id, 5);
    assert.deepEqual(endpoint.policy?.enforced, { ingress: true, egress: true });
    namespace('a');
    pod('web');
    await turns();
    await bench.clock.advance(400);
    await bench.manager.idle();
    assert.match(labelsOf(endpoint), /app=web/);
    assert.equal(bench.datapath.installed.get(endpoint.id)!.program.identity, endpoint.identity.id);
    assert.notEqual(endpoint.identity.id, 5);
  });

  test('a label change reaches other nodes before the pod goes over, and a namespace’s is one, too', async () => {
    namespace('a');
    pod('web');
    const endpoint = await add('u1');
    const before = endpoint.identity!.id;
    for (const change of [() => pod('other'), () => namespace('b')]) {
      const present = bench.datapath.installed.get(endpoint.id)!.program.identity;
      change();
      await turns();
      assert.equal(bench.datapath.installed.get(endpoint.id)!.program.identity, present, 'not before the others know');
      await bench.clock.advance(399);
      assert.equal(bench.datapath.installed.get(endpoint.id)!.program.identity, present);
      await bench.clock.advance(1);
      await bench.manager.idle();
      assert.notEqual(bench.datapath.installed.get(endpoint.id)!.program.identity, present);
      assert.equal(bench.ipcache.lookup(endpoint.addresses[0]!)?.identity, endpoint.identity!.id);
    }
    // An identity that has been known for long needs no time.
    namespace('a');
    pod('web');
    await bench.manager.idle();
    assert.equal(endpoint.identity!.id, before);
  });
});
