/** Labels of pods and of namespaces change during traffic: whoever stays allowed loses nothing. */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { Traffic, type Flow } from '../../harness/traffic.ts';
import { SILENCE_MS, waitFor } from '../../harness/wait.ts';
import { flowsOf, POLICIES, PORT, serverPolicy, type Scene } from './scene.ts';

const SHOP = '/api/v1/namespaces/shop';

export async function labels(t: TestContext, scene: Scene): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const { cluster, server, clients, strangers, guest } = scene;
  const { server: api } = cluster;
  const [peer] = serverPolicy().spec.ingress;
  const ofShop = { matchLabels: { 'io.cilium.k8s.namespace.labels.team': 'shop' } };
  const fromEndpoints = [...peer!.fromEndpoints, ofShop];
  await api.merge(`${POLICIES}/server`, { spec: { ingress: [{ ...peer, fromEndpoints }] } });
  const ofGuest = (['tcp', 'udp', 'udp-kept'] as const).map((transport): Flow => ({
    name: `guest ${transport}`,
    ...{ from: guest, host: server.ipv4, port: PORT, transport, verdict: 'allowed' },
  }));
  const flows = [...flowsOf(scene), ...ofGuest];
  await waitFor('the policy', async () => {
    const ask = { op: 'tcp', host: server.ipv4, port: PORT, timeoutMs: SILENCE_MS } as const;
    const answers = await Promise.all([guest, strangers[0]].map(({ actor }) => actor.do(ask)));
    return answers.join() === 'ok,timeout';
  });
  const traffic = stack.use(await Traffic.start(flows));
  const named = (prefix: string): Flow[] => flows.filter(({ name, port }) => name.startsWith(prefix) && port === PORT);
  const all = (prefix: string, verdict: 'allowed' | 'denied') =>
    Object.fromEntries(named(prefix).map(({ name }) => [name, verdict]));
  await traffic.more();

  await t.test('a pod that gets a label of no meaning to policy is another identity, and loses nothing', async () => {
    for (const tier of ['one', 'two']) {
      const took = await reidentified(scene, clients[1].ipv4, () =>
        api.merge('/api/v1/namespaces/default/pods/client2', { metadata: { labels: { tier } } }),
      );
      t.diagnostic(`a new identity was known on all nodes ${took.toFixed(0)} ms after the label`);
      await traffic.more();
    }
  });

  await t.test('a pod that gets the labels of those who are admitted is admitted, and no longer without', async () => {
    const label = (app: string) => () =>
      api.merge('/api/v1/namespaces/default/pods/stranger1', { metadata: { labels: { app } } });
    await traffic.turn(all('stranger1', 'allowed'), label('client'));
    await traffic.turn(all('stranger1', 'denied'), label('stranger'));
  });

  await t.test('a namespace that gets a label of no meaning to policy: its pods lose nothing', async () => {
    const took = await reidentified(scene, guest.ipv4, () =>
      api.merge(SHOP, { metadata: { labels: { color: 'red' } } }),
    );
    t.diagnostic(`pods of a namespace had their new identity on all nodes ${took.toFixed(0)} ms after its label`);
    await traffic.more();
  });

  await t.test('a namespace that loses the label that policy asks for, and gets it back', async () => {
    const label = (team: string) => () => api.merge(SHOP, { metadata: { labels: { team } } });
    await traffic.turn(all('guest', 'denied'), label('other'));
    await traffic.turn(all('guest', 'allowed'), label('shop'));
    await traffic.more();
  });

  await traffic.ended();
  const { probes, judged, wrong } = await traffic.report();
  t.diagnostic(`${probes} probes, ${judged} judged`);
  assert.deepEqual(wrong.slice(0, 20), [], `${wrong.length} wrong verdicts`);
}

/** How long after the change, in milliseconds, every node knew the address under one identity other than before. */
async function reidentified({ members }: Scene, address: string, change: () => Promise<unknown>): Promise<number> {
  const identities = async (): Promise<readonly (number | undefined)[]> =>
    await Promise.all(
      members.map(async ({ api }) => (await api.ips()).find(({ cidr }) => cidr === `${address}/32`)?.identity),
    );
  const [before] = await identities();
  await change();
  const start = performance.now();
  await waitFor('another identity on every node', async () => {
    const now = new Set(await identities());
    return now.size === 1 && !now.has(before) && !now.has(undefined);
  });
  return performance.now() - start;
}
