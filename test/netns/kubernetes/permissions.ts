/**
 * A whole cluster under the accounts of install/kubernetes: nothing that agents and the operator ask for is refused, and
 * agents use every verb that they are given. Endpoints come to the agents in slices.
 */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { granted, used } from '../../harness/grants.ts';
import { waitFor } from '../../harness/wait.ts';
import { NETWORK_POLICIES, POLICIES, type Scene } from './scene.ts';

/** What this life, without accidents, may have no use for, and why. */
const SPARED: ReadonlyMap<string, string> = new Map([
  ['list cilium.io/ciliumendpoints', 'endpoints come in slices'],
  ['watch cilium.io/ciliumendpoints', 'endpoints come in slices'],
  ['get cilium.io/ciliumendpoints', 'no agent found what an earlier one had announced of a pod that is gone'],
  ['delete cilium.io/ciliumidentities', 'no two nodes raced for the same labels'],
  ['get cilium.io/ciliumidentities', 'no two nodes raced for the same labels'],
  ['patch cilium.io/ciliumidentities', 'no identity that was marked as unused came into use'],
  ['get coordination.k8s.io/leases', 'nobody ran weir cluster status in the pod of an agent'],
  ['get apiextensions.k8s.io/customresourcedefinitions', 'no agent started before the operator had defined the kinds'],
]);

export async function permissions(t: TestContext, { cluster, members, server }: Scene): Promise<void> {
  const { server: api } = cluster;
  const [one, two, three] = members;
  // Something for each verb: labels that change, an agent that starts anew, a pod that goes, a policy that only agents judge.
  await api.merge('/api/v1/namespaces/default/pods/client2', { metadata: { labels: { tier: 'new' } } });
  const passer = await cluster.run(one, 'passer', { app: 'client' });
  await cluster.settled();
  await three.node.stopAgent('SIGKILL');
  await three.node.startAgent();
  await cluster.end(passer);
  await api.create(NETWORK_POLICIES, {
    metadata: { name: 'wrong' },
    spec: { podSelector: {}, ingress: [{ ports: [{ port: 80, endPort: 79 }] }] },
  });
  await api.delete(`${POLICIES}/server`);
  const given = granted('weir-agent');
  await waitFor(
    'every verb to be used',
    async () => {
      const asked = used(await api.records(), 'weir-agent');
      const missing = [...given].filter((verb) => !asked.has(verb) && !SPARED.has(verb));
      if (missing.length > 0) throw new Error(`unused: ${missing.join(', ')}`);
      return true;
    },
    60_000,
  );
  await waitFor('the other nodes to know who is there and who is gone, by their slices', async () => {
    const known = await Promise.all(
      [two, three].map(async (member) => (await member.api.ips()).map(({ cidr }) => cidr)),
    );
    return known.every((cidrs) => cidrs.includes(`${server.ipv4}/32`) && !cidrs.includes(`${passer.ipv4}/32`));
  });
  const records = await api.records();
  for (const account of ['weir-agent', 'weir-operator']) {
    const allowed = granted(account);
    assert.deepEqual(
      [...used(records, account)].filter((verb) => !allowed.has(verb)),
      [],
    );
  }
  const spared = [...SPARED].filter(([verb]) => !used(records, 'weir-agent').has(verb));
  for (const [verb, why] of spared) t.diagnostic(`not used, since ${why}: ${verb}`);
}
