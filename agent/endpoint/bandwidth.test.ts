/** Limits of pods, from their annotations to the kernel. */
import assert from 'node:assert/strict';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { DEPTH, limitOf } from '../model/bandwidth.ts';
import { parseLimit, podBandwidth } from './bandwidth.ts';
import type { Endpoint } from './endpoint.ts';
import type { PodBandwidth } from './pod-directory.ts';
import { openBench, type Bench } from './testing.ts';

const EGRESS = 'metadata.annotations["kubernetes.io/egress-bandwidth"]';
const limit = (bits: number) => ({ rate: bits / 8, depth: DEPTH });

describe('annotations', () => {
  test('both directions, by their names', () => {
    const annotations = {
      'kubernetes.io/egress-bandwidth': '10M',
      'kubernetes.io/ingress-bandwidth': '1G',
      other: '5',
    };
    assert.deepEqual(podBandwidth(new Map(Object.entries(annotations))), { egress: '10M', ingress: '1G' });
    assert.deepEqual(podBandwidth(new Map()), {});
  });

  test('bits a second become bytes', () => {
    assert.deepEqual(parseLimit('10M', 'egress', 'shop/web'), limit(10_000_000));
    assert.deepEqual(parseLimit('1k', 'ingress', 'shop/web'), limit(1000));
    assert.deepEqual(parseLimit('1P', 'ingress', 'shop/web'), limit(1e15));
  });

  for (const text of ['', '10Mbit', '-10M', '0', '999', '100m', '2P', '1E']) {
    test(`${JSON.stringify(text)} is told with pod, annotation and remedy`, () => {
      assert.throws(() => parseLimit(text, 'egress', 'shop/web'), {
        code: 'RESOURCE_INVALID',
        object: 'Pod shop/web',
        field: EGRESS,
        remedy: /from 1k to 1P, such as 10M/,
      });
    });
  }
});

describe('limits of endpoints', () => {
  let bench: Bench;
  const open: Bench[] = [];
  beforeEach(async () => {
    bench = await openBench();
    open.push(bench);
    await bench.manager.activate();
  });
  afterEach(() => open.splice(0).forEach((each) => each[Symbol.dispose]()));

  const pod = (bandwidth: PodBandwidth, on = bench): void =>
    on.pods.setPod('shop', 'web', { labels: { app: 'web' }, serviceAccount: '', namedPorts: [], bandwidth });
  const add = (): Promise<Endpoint> =>
    bench.manager.create({
      attachment: {
        ...{ containerId: 'c', containerIfName: 'eth0', netns: '/run/netns/c', namespace: 'shop', podName: 'web' },
      },
    });
  const turns = async (): Promise<void> => {
    for (let i = 0; i < 20; i++) await nextTurn();
  };
  const changes = (): number => bench.datapath.calls.filter((call) => call.startsWith('setBandwidth')).length;

  test('a new pod is limited before it is enforced, and not at all when nothing asks for it', async () => {
    pod({ egress: '10M' });
    const { id, bandwidth } = await add();
    assert.deepEqual(bench.datapath.limits.get(id), { egress: limit(10_000_000) });
    assert.deepEqual(bandwidth, { egress: limit(10_000_000) });
    const order = bench.datapath.calls.map((call) => call.split(' ')[0]);
    assert.ok(order.indexOf('setBandwidth') < order.indexOf('install'));
    await bench.manager.create({
      attachment: { containerId: 'd', containerIfName: 'eth0', netns: '/run/netns/d', namespace: '', podName: '' },
    });
    assert.equal(changes(), 1);
  });

  test('changes take effect at once, and only changes', async () => {
    pod({});
    const { id } = await add();
    pod({ egress: '10M', ingress: '2M' });
    await turns();
    assert.deepEqual(bench.datapath.limits.get(id), { egress: limit(10_000_000), ingress: limit(2_000_000) });
    pod({ egress: '10000k', ingress: '2M' });
    await turns();
    assert.equal(changes(), 1);
    pod({ ingress: '2M' });
    await turns();
    assert.deepEqual(bench.datapath.limits.get(id), { ingress: limit(2_000_000) });
    pod({});
    await turns();
    assert.deepEqual(bench.datapath.limits.get(id), {});
  });

  test('what cannot be read is told once, and changes nothing', async () => {
    pod({ egress: '10M', ingress: '2M' });
    const endpoint = await add();
    pod({ egress: 'ten', ingress: '3M' });
    await turns();
    assert.deepEqual(bench.datapath.limits.get(endpoint.id), { egress: limit(10_000_000), ingress: limit(3_000_000) });
    const told = (): string[] => bench.reports.filter((text) => text.includes(`Pod shop/web: ${EGRESS}`));
    assert.equal(told().length, 1);
    assert.match(told()[0]!, /"ten" is no quantity \(write bits a second as a quantity/);
    pod({ egress: 'ten', ingress: '4M' });
    await turns();
    assert.equal(told().length, 1);
    pod({ egress: '5', ingress: '4M' });
    await turns();
    assert.match(told()[1]!, /"5" is not between 1k and 1P/);
    assert.ok(endpoint.log.entries().some(({ code, message }) => code === 'failed' && message.includes('"5"')));
  });

  test('a pod whose object goes keeps its limits until it goes itself', async () => {
    pod({ egress: '10M' });
    const endpoint = await add();
    bench.pods.setPod('shop', 'web', undefined);
    await turns();
    assert.deepEqual(bench.datapath.limits.get(endpoint.id), { egress: limit(10_000_000) });
    await bench.manager.remove(endpoint);
    assert.equal(bench.datapath.limits.has(endpoint.id), false);
  });

  test('a kernel that refuses is told, what was in force stays, and the next change tries again', async () => {
    pod({ egress: '10M' });
    const { id } = await add();
    bench.datapath.failing.set('setBandwidth', new Error('no room'));
    pod({ egress: '20M' });
    await turns();
    assert.deepEqual(bench.datapath.limits.get(id), { egress: limit(10_000_000) });
    assert.match(bench.reports.join(), /bandwidth limits cannot be changed/);
    bench.datapath.failing.clear();
    pod({ egress: '20M' });
    await turns();
    assert.deepEqual(bench.datapath.limits.get(id), { egress: limit(20_000_000) });
  });

  test('a restart leaves limits alone, and takes up what was missed', async () => {
    pod({ egress: '10M' });
    const { id } = await add();
    const next = await bench.restart();
    open.push(next);
    await next.manager.restore();
    assert.deepEqual(next.manager.index.byId(id)?.bandwidth, { egress: limit(10_000_000) });
    assert.equal(changes(), 1);
    pod({ egress: '30M' }, next);
    await turns();
    assert.equal(changes(), 1, 'policies are not known yet');
    await next.manager.activate();
    await turns();
    assert.deepEqual(next.datapath.limits.get(id), { egress: limit(30_000_000) });
  });

  test('what the runtime asks for holds where no Pod object says otherwise', async () => {
    const asked = { ingress: limitOf(8_000_000, 500_000), egress: limitOf(1000, 2 ** 40) };
    assert.deepEqual(asked, { ingress: { rate: 1e6, depth: 5e8 }, egress: { rate: 125, depth: 3.6e12 } });
    const create = (containerId: string, podName: string, on = bench): Promise<Endpoint> =>
      on.manager.create({
        attachment: { containerId, containerIfName: 'eth0', netns: '/run/netns/c', namespace: 'shop', podName },
        bandwidth: asked,
      });
    const { id } = await create('a', 'nobody');
    assert.deepEqual(bench.datapath.limits.get(id), asked);
    pod({ egress: '10M' });
    const known = await create('b', 'web');
    assert.deepEqual(bench.datapath.limits.get(known.id), { egress: limit(10_000_000) });
    const next = await bench.restart({ bandwidthManager: false });
    open.push(next);
    await next.manager.restore();
    await next.manager.activate();
    const refused = await create('c', 'else', next);
    assert.equal(next.datapath.limits.has(refused.id), false);
    assert.match(next.reports.join(), /runtime asks for limits.*--enable-bandwidth-manager/);
  });

  test('without the bandwidth manager nothing is limited, and what was is no more', async () => {
    pod({ egress: '10M' });
    const { id } = await add();
    const next = await bench.restart({ bandwidthManager: false });
    open.push(next);
    await next.manager.restore();
    pod({ egress: '10M' }, next);
    await next.manager.activate();
    await turns();
    assert.deepEqual(next.datapath.limits.get(id), {});
  });
});
