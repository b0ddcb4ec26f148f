/**
 * An agent, the operator, the API server and etcd are killed and started again while pods of all nodes speak to each other: no
 * flow meets another verdict than policy gives it, and a policy that changes meanwhile or right after takes effect.
 */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { Traffic } from '../../harness/traffic.ts';
import { SILENCE_MS, waitFor } from '../../harness/wait.ts';
import { checkPodKeys, LABEL_SETS } from './announcements.ts';
import { flowsOf, podsOf, POLICIES, PORT, serverPolicy, whenAdmitting, type Member, type Scene } from './scene.ts';

type App = 'client' | 'stranger';

/** What a fault may do while it lasts. */
interface Meanwhile {
  /** Resolves when every flow has been tried. */
  readonly more: () => Promise<void>;
  /** The server admits the others; each fault has it do so once. Resolves when all flows have turned. */
  readonly turn: () => Promise<void>;
  /** Whom the server admits. */
  readonly admitted: () => App;
}

/** Kills a part and brings it back. */
type Fault = (meanwhile: Meanwhile) => Promise<void>;

export async function faults(t: TestContext, scene: Scene): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const { server: api } = scene.cluster;
  const flows = flowsOf(scene);
  const traffic = stack.use(await Traffic.start(flows));
  let app: App = 'client';
  const meanwhile: Meanwhile = {
    more: async () => await traffic.more(),
    turn: async () => {
      app = app === 'client' ? 'stranger' : 'client';
      await traffic.turn(whenAdmitting(app, flows), () =>
        api.merge(`${POLICIES}/server`, { spec: serverPolicy(app).spec }),
      );
    },
    admitted: () => app,
  };
  const all = { ...faultsOf(scene), ...(scene.mode.kvstore ? etcdFaults(scene) : {}) };
  for (const [what, fault] of Object.entries(all)) {
    await t.test(what, async () => {
      traffic.phase(what);
      await traffic.more();
      await fault(meanwhile);
      await traffic.more();
      const { probes, judged, wrong } = await traffic.report();
      t.diagnostic(`${what}: ${probes} probes, ${judged} judged, ${wrong.length} wrong`);
      assert.deepEqual(wrong.slice(0, 20), [], `${wrong.length} wrong verdicts`);
    });
  }
  await traffic.ended();
  assert.deepEqual((await traffic.report()).wrong.slice(0, 20), []);
}

function faultsOf({ cluster, members: [one, two] }: Scene): Readonly<Record<string, Fault>> {
  const { server: api, operator } = cluster;
  const agent =
    ({ node }: Member): Fault =>
    async ({ more, turn }) => {
      await node.stopAgent('SIGKILL');
      await more();
      await node.startAgent();
      await turn();
    };
  return {
    'the agent of the server’s node': agent(one),
    'the agent of a client’s node': agent(two),
    'the agent of the server’s node, while policy changes': async ({ turn }) => {
      await one.node.stopAgent('SIGKILL');
      await Promise.all([turn(), one.node.startAgent()]);
    },
    'the operator': async ({ more, turn }) => {
      await operator!.stop('SIGKILL');
      await more();
      await operator!.start();
      await turn();
    },
    'the API server, which goes on with its revisions': async ({ more, turn }) => {
      await api.kill();
      await more();
      await says(one, /Kubernetes:.*cut off/);
      await api.restart('kept');
      await turn();
      await isWell(one);
    },
    'the API server, which begins with others, so that all watches are refused': async ({ more, turn }) => {
      await api.kill();
      await more();
      await api.restart('new');
      await turn();
    },
    'an agent while there is no API server': async ({ more, turn }) => {
      await api.kill();
      await one.node.stopAgent('SIGKILL');
      const restarted = one.node.startAgent();
      await more();
      await api.restart();
      await restarted;
      await turn();
    },
  };
}

function etcdFaults(scene: Scene): Readonly<Record<string, Fault>> {
  const { cluster, members } = scene;
  const { etcd } = cluster;
  const [one, , three] = members;
  return {
    'etcd, which goes on with what it held: what is known goes on, what is not fails in time': async (meanwhile) => {
      await etcd.halt();
      await meanwhile.more();
      await says(three, /KVStore:.*cut off since/);
      await podsWithoutEtcd(scene, meanwhile);
      await says(three, /KVStore: +Ok/);
    },
    'etcd, which comes back with nothing and is filled again': async ({ more, turn }) => {
      await etcd.halt();
      await more();
      await etcd.wipe();
      await turn();
      const pods = podsOf(scene);
      const sizes = { 'ip/v1/default/': 2 * pods.length, 'identities/v1/id/': LABEL_SETS, 'nodes/v1/default/': 3 };
      for (const [keys, size] of Object.entries(sizes))
        await waitFor(`${keys} to be back`, () => etcd.keys(`cilium/state/${keys}`).size === size);
      checkPodKeys(etcd, pods);
    },
    'an agent while there is no etcd': async ({ more, turn }) => {
      await etcd.halt();
      await one.node.stopAgent('SIGKILL');
      const restarted = one.node.startAgent();
      await more();
      await etcd.resume();
      await restarted;
      await turn();
    },
  };
}

/** Pods come while etcd is away, and policy changes; then it is there again, and has them. */
async function podsWithoutEtcd({ cluster, members, server }: Scene, { turn, admitted }: Meanwhile): Promise<void> {
  const { etcd, server: api } = cluster;
  const [, two, three] = members;
  const twin = await cluster.run(three, 'twin', { app: 'stranger' });
  const twinIs = async (what: string): Promise<void> => {
    const answer = admitted() === 'stranger' ? 'ok' : 'timeout';
    const ask = { op: 'tcp', host: server.ipv4, port: PORT, timeoutMs: SILENCE_MS } as const;
    await waitFor(`a pod of known labels to be judged ${what}`, async () => (await twin.actor.do(ask)) === answer);
  };
  await twinIs('while there is no etcd');
  await assert.rejects(cluster.run(two, 'novel', { app: 'novel' }), /etcd|KVSTORE|lease|kvstore/i);
  await api.delete('/api/v1/namespaces/default/pods/novel');
  await turn();
  await twinIs('by a policy that changes meanwhile');
  await etcd.resume();
  await cluster.settled();
  await waitFor('its keys', () => {
    checkPodKeys(etcd, [twin]);
    return true;
  });
  await cluster.end(twin);
}

async function says({ node }: Member, text: RegExp): Promise<void> {
  await waitFor(`${node.name} to say ${text.source}`, async () => text.test((await node.weir('status')).stdout));
}

async function isWell({ node }: Member): Promise<void> {
  await waitFor(`${node.name} to be well`, async () => (await node.weir('status')).status === 0);
}
