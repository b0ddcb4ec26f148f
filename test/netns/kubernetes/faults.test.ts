/**
 * An agent, the operator and the API server are killed and started again while pods of all nodes speak to each other: no
 * flow meets another verdict than policy gives it, and a policy that changes right after the restart takes effect.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Traffic, type Flow } from '../../harness/traffic.ts';
import { SILENCE_MS, waitFor } from '../../harness/wait.ts';
import { flowsOf, MODES, openScene, POLICIES, serverPolicy, whenAdmitting, type Fault, type Scene } from './scene.ts';

for (const mode of MODES) {
  test(`parts of a cluster are killed during traffic: ${mode.name}`, { timeout: 900_000 }, async (t) => {
    await using stack = new AsyncDisposableStack();
    const scene = await openScene(mode);
    stack.use(scene.cluster);
    const flows = flowsOf(scene);
    await enforced(flows);
    const traffic = stack.use(await Traffic.start(flows));
    const faults = { ...faultsOf(scene), ...mode.faults?.(scene.cluster) };
    for (const [i, [what, fault]] of Object.entries(faults).entries()) {
      await t.test(what, async () => {
        await traffic.more();
        await fault(async () => await traffic.more());
        // Every other time those are admitted who were not before the fault.
        await turn(scene, traffic, flows, i % 2 === 0 ? 'stranger' : 'client');
        await traffic.more();
        const { probes, judged, wrong } = await traffic.report();
        t.diagnostic(`after ${what}: ${probes} probes, ${judged} judged, ${wrong.length} wrong`);
        assert.deepEqual(wrong.slice(0, 20), [], `${wrong.length} wrong verdicts`);
      });
    }
  });
}

/** Each kills a part, waits as it is told to, and brings the part back. */
function faultsOf({ cluster, members: [one, two] }: Scene): Readonly<Record<string, Fault>> {
  const { server: api, operator } = cluster;
  const agent =
    (member: typeof one) =>
    async (wait: () => Promise<void>): Promise<void> => {
      await member.node.stopAgent('SIGKILL');
      await wait();
      await member.node.startAgent();
    };
  const apiServer =
    (revisions: 'kept' | 'new') =>
    async (wait: () => Promise<void>): Promise<void> => {
      await api.kill();
      await wait();
      await api.restart(revisions);
    };
  return {
    'the agent of the server’s node': agent(one),
    'the agent of a client’s node': agent(two),
    'the operator': async (wait) => {
      await operator!.stop('SIGKILL');
      await wait();
      await operator!.start();
    },
    'the API server, which goes on with its revisions': apiServer('kept'),
    'the API server, which begins with others, so that all watches are refused': apiServer('new'),
    'an agent while there is no API server': async (wait) => {
      await api.kill();
      await one.node.stopAgent('SIGKILL');
      const restarted = one.node.startAgent();
      await wait();
      await api.restart();
      await restarted;
    },
  };
}

/** Policy is in the kernel before anything is judged by it. */
async function enforced(flows: readonly Flow[]): Promise<void> {
  const { from, host, port } = flows.find(({ verdict, transport }) => verdict === 'denied' && transport === 'tcp')!;
  await waitFor('the policy to be enforced', async () => {
    return (await from.actor.do({ op: 'tcp', host, port, timeoutMs: SILENCE_MS })) === 'timeout';
  });
}

/** The server admits others, at once. */
async function turn(
  { cluster: { server: api } }: Scene,
  traffic: Traffic,
  flows: readonly Flow[],
  app: 'client' | 'stranger',
): Promise<void> {
  await traffic.turn(whenAdmitting(app, flows), () =>
    api.merge(`${POLICIES}/server`, { spec: serverPolicy(app).spec }),
  );
}
