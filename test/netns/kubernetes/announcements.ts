/** What agents tell each other of nodes and pods: as objects of the API server, and in etcd under Cilium's keys. */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import type { Etcd } from '../../harness/etcd.ts';
import type { Pod } from '../../harness/pod.ts';
import { waitFor } from '../../harness/wait.ts';
import { podsOf, type Scene } from './scene.ts';

const ENDPOINTS = '/apis/cilium.io/v2/ciliumendpoints';
/** Servers, clients, strangers, and clients of another namespace. */
export const LABEL_SETS = 4;

export async function announcements(t: TestContext, scene: Scene): Promise<void> {
  const { cluster, members, mode } = scene;
  const { server: api } = cluster;
  const pods = podsOf(scene);

  await t.test('nodes and endpoints are announced, each pod under one identity', async () => {
    assert.equal((await api.list(ENDPOINTS)).length, pods.length);
    const identities = (await api.list('/apis/cilium.io/v2/ciliumidentities')).length;
    assert.equal(identities, mode.kvstore ? 0 : LABEL_SETS);
    assert.equal((await api.list('/apis/cilium.io/v2/ciliumnodes')).length, members.length);
    if (!mode.kvstore) return;
    checkPodKeys(cluster.etcd, pods);
    await checkNodeKey(scene);
  });

  await t.test('a pod that is deleted is gone everywhere', async () => {
    const passer = await cluster.run(members[1], 'passer', { app: 'stranger' });
    await cluster.settled();
    await cluster.end(passer);
    await waitFor('the pod to go', async () => {
      const known = await Promise.all(members.map(async (member) => await member.api.ips()));
      return known.every((entries) => !entries.some(({ cidr }) => cidr === `${passer.ipv4}/32`));
    });
    await waitFor('its endpoint to go', async () => (await api.list(ENDPOINTS)).length === pods.length);
  });
}

/** Everything that agents say of these pods stands in etcd, as Cilium has it. */
export function checkPodKeys(etcd: Etcd, pods: readonly Pod[]): void {
  const labels = etcd.keys('cilium/state/identities/v1/id/');
  const users = etcd.keys('cilium/state/identities/v1/value/');
  const addresses = etcd.keys('cilium/state/ip/v1/default/');
  for (const pod of pods) {
    for (const ip of [pod.ipv4, pod.ipv6]) {
      const pair = JSON.parse(addresses.get(`cilium/state/ip/v1/default/${ip}`) ?? '{}') as {
        readonly ID?: number;
        readonly K8sPodName?: string;
      };
      assert.equal(pair.K8sPodName, pod.name);
      const text = labels.get(`cilium/state/identities/v1/id/${pair.ID}`);
      assert.ok(text?.includes('k8s:app='), `the labels of ${pod.name}`);
      assert.equal(users.get(`cilium/state/identities/v1/value/${text}/${pod.node.name}`), String(pair.ID));
    }
  }
}

async function checkNodeKey({ cluster: { etcd, server: api } }: Scene): Promise<void> {
  const { spec } = (await api.get('/apis/cilium.io/v2/ciliumnodes/node1')) as unknown as {
    readonly spec: { readonly ipam: { readonly podCIDRs: readonly string[] } };
  };
  const cidr = spec.ipam.podCIDRs.find((text) => text.includes('.'))!;
  const text = etcd.keys('cilium/state/nodes/v1/default/node1').values().next().value ?? '{}';
  const { Name, Cluster, IPv4AllocCIDR } = JSON.parse(text) as Readonly<Record<string, unknown>>;
  assert.deepEqual(
    { Name, Cluster, IPv4AllocCIDR },
    { Name: 'node1', Cluster: 'default', IPv4AllocCIDR: { IP: cidr.split('/')[0], Mask: '////AA==' } },
  );
}
