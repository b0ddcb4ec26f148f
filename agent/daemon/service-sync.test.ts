import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LbService, LbSlice } from '../loadbalancer/service.ts';
import { parseAddress } from '../model/address.ts';
import { ManualClock } from '../model/manual-clock.ts';
import { port, PROTOCOL } from '../model/port.ts';
import { socketKey, type LbTarget } from '../model/service.ts';
import { ServiceSync } from './service-sync.ts';

const web: LbService = {
  type: 'ClusterIP',
  headless: false,
  clusterAddresses: [parseAddress('10.96.0.1')],
  externalAddresses: [],
  loadBalancerAddresses: [],
  loadBalancerSourceRanges: [],
  ports: [{ name: '', protocol: PROTOCOL.TCP, port: port(80), targetPort: port(80), nodePort: undefined }],
  externalTrafficPolicy: 'Cluster',
  internalTrafficPolicy: 'Cluster',
  healthCheckNodePort: undefined,
  sessionAffinitySeconds: undefined,
};
const endpoint = { ready: true, serving: true, terminating: false, nodeName: 'n1', zone: undefined };
const slice: LbSlice = {
  namespace: 'default',
  service: 'web',
  family: 4,
  endpoints: [{ ...endpoint, addresses: [parseAddress('10.0.0.1')] }],
  ports: [{ name: '', protocol: PROTOCOL.TCP, port: port(80) }],
};

/** A kernel that says what it was told, and refuses when it is told to. */
class Kernel implements LbTarget {
  readonly heard: string[] = [];
  refuses = false;

  known: LbTarget['known'] = () => Promise.resolve({ frontends: [['10.96.0.1:80/TCP', 7]], backends: [] });

  apply: LbTarget['apply'] = ({ backends, frontends }) => {
    if (this.refuses) return Promise.reject(new Error('no'));
    const name = (sign: string) => (item: Parameters<typeof socketKey>[0] & { id: number }) =>
      `${sign}${item.id} ${socketKey(item)}`;
    this.heard.push(...backends.update.map(name('+')), ...frontends.update.map(name('+')));
    this.heard.push(...frontends.delete.map(name('-')), ...backends.delete.map(name('-')));
    return Promise.resolve();
  };

  prune: LbTarget['prune'] = (frontends, backends) => {
    this.heard.push(`prune to ${frontends.length} and ${backends.length}`);
    return Promise.resolve();
  };
}

test('nothing is written before everything is known; then all of it, under the old numbers; then what changes', async () => {
  const target = new Kernel();
  const onError = (message: string): never => assert.fail(message);
  const counted: string[] = [];
  const clock = new ManualClock();
  const sync = await ServiceSync.open({
    node: { name: 'n1', addresses: [] },
    ...{ target, clock, onError },
    metrics: {
      heard: (action) => counted.push(action),
      implemented: (action, ms) => counted.push(`${action} after ${ms}`),
    },
  });
  sync.setService('default', 'web', web);
  sync.setSlice('default', 'web', slice);
  await Promise.resolve();
  assert.deepEqual(target.heard, []);
  await clock.advance(20);
  await sync.begin();
  assert.deepEqual(counted.splice(0), ['add', 'update', 'add after 20']);
  assert.deepEqual(sync.frontends.map(socketKey), ['10.96.0.1:80/TCP']);
  assert.deepEqual(target.heard.splice(0), ['+1 10.0.0.1:80/TCP', '+7 10.96.0.1:80/TCP', 'prune to 1 and 1']);
  sync.setSlice('default', 'web', undefined);
  await sync.begin();
  assert.deepEqual(target.heard.splice(0), ['+7 10.96.0.1:80/TCP', '-1 10.0.0.1:80/TCP']);
});

test('what the kernel refused is written again, all of it', async () => {
  const target = new Kernel();
  const clock = new ManualClock();
  const errors: string[] = [];
  const onError = (message: string): number => errors.push(message);
  const sync = await ServiceSync.open({ node: { name: 'n1', addresses: [] }, target, clock, onError });
  await sync.begin();
  target.refuses = true;
  sync.setService('default', 'web', web);
  await sync.begin();
  assert.equal(errors.length, 1);
  target.refuses = false;
  target.heard.length = 0;
  await clock.advance(5_000);
  await sync.begin();
  assert.deepEqual(target.heard, ['+8 10.96.0.1:80/TCP', 'prune to 1 and 0'], '7 was given back: nobody wanted it');
});
