/**
 * One agent in a large cluster. The node is real: its agent, its pods, the programs in its kernel. The rest of the cluster
 * is simulated: objects of an API server that runs in a process of its own. Beside each figure stands its aim.
 */
import path from 'node:path';
import { ApiClient } from '../../agent/api/client.ts';
import { KubernetesCluster } from '../harness/kubernetes-cluster.ts';
import { WeirNode } from '../harness/node.ts';
import { Pod } from '../harness/pod.ts';
import { waitFor } from '../harness/wait.ts';
import { AgentProcess, type StartTimes } from './scale/agent-process.ts';
import { ipcacheSize, KernelWatch } from './scale/kernel-watch.ts';
import type { Sent } from './scale/load.ts';
import { FULL, probePolicy, SimulatedCluster, SMALL, type ClusterSize } from './scale/objects.ts';
import { percentile, type Bench } from './suite.ts';

/** How long and how much. */
export interface ScaleOptions {
  readonly size: ClusterSize;
  /** Pods that come, go or change a second. */
  readonly perSecond: number;
  /** Seconds of churn without anything else. */
  readonly seconds: number;
  /** Changes of policy of each kind. */
  readonly rounds: number;
  /** Policies that are written at once. */
  readonly burst: number;
  /** Whether memory is looked at only when it has settled, which takes seconds each time. */
  readonly settle: boolean;
}

const LARGE: ScaleOptions = { size: FULL, perSecond: 100, seconds: 60, rounds: 50, burst: 250, settle: true };
/** What shows in seconds that the bench works. */
export const QUICK: ScaleOptions = { size: SMALL, perSecond: 50, seconds: 1, rounds: 3, burst: 10, settle: false };

/** One line of the table. */
export interface Row {
  readonly what: string;
  readonly found: string;
  readonly aim: string;
}

const POLICIES = '/apis/cilium.io/v2/ciliumclusterwidenetworkpolicies';

export const bench: Bench = {
  name: 'scale',
  title: 'an agent in a cluster of 1,000 nodes and 50,000 endpoints (--quick: 10 and 500)',
  async run(print, { quick }) {
    for await (const { what, found, aim } of measureScale(quick ? QUICK : LARGE)) {
      print(`${what.padEnd(92)} ${found.padStart(30)}   ${aim}`);
    }
  },
};

/** Measures, and gives each line of the table when it is known. */
export async function* measureScale(options: ScaleOptions): AsyncGenerator<Row> {
  if (options.settle) yield* alone();
  await using scene = await Scene.prepare(options);
  yield* scene.begin();
  yield* scene.endpoints();
  yield* scene.churn();
  yield* scene.policies();
  yield* scene.burst();
  yield* scene.restart();
}

/** An agent that is in no cluster and has no pods. */
async function* alone(): AsyncGenerator<Row> {
  await using node = new WeirNode({ name: 'idle' });
  const agent = new AgentProcess(node);
  const first = await agent.start();
  await agent.rest();
  const { rss, anonymous } = agent.memory();
  yield { what: 'idle, without a cluster: memory', found: `${mib(rss)} (${mib(anonymous)} its own)`, aim: '< 120 MB' };
  await node.stopAgent();
  const again = await agent.start();
  const found = `${seconds(again.ready)} (first ${seconds(first.ready)})`;
  yield { what: 'idle, without a cluster: restart to ready', found, aim: '< 1 s' };
}

class Scene implements AsyncDisposable {
  readonly #options: ScaleOptions;
  readonly #simulated: SimulatedCluster;
  readonly #cluster: KubernetesCluster;
  readonly #agent: AgentProcess;
  readonly #api: ApiClient;
  readonly #stack: AsyncDisposableStack;
  #watch: KernelWatch | undefined;
  #idleMemory = 0;
  #port = 20_000;

  private constructor(options: ScaleOptions, cluster: KubernetesCluster, stack: AsyncDisposableStack) {
    const { node, api } = cluster.nodes.members[0]!;
    this.#options = options;
    this.#simulated = new SimulatedCluster(options.size);
    this.#cluster = cluster;
    this.#agent = new AgentProcess(node);
    this.#api = api;
    this.#stack = stack;
  }

  static async prepare(options: ScaleOptions): Promise<Scene> {
    await using stack = new AsyncDisposableStack();
    const module = path.join(import.meta.dirname, 'scale/load.ts');
    const cluster = stack.use(await KubernetesCluster.start({ nodes: 1, flags: [], module, startAgents: false }));
    return new Scene(options, cluster, stack.move());
  }

  /** The agent in an empty cluster, then in the full one. */
  async *begin(): AsyncGenerator<Row> {
    const { size } = this.#options;
    await this.#agent.start();
    await this.#rest();
    this.#idleMemory = this.#agent.memory().rss;
    yield { what: 'in an empty cluster: memory', found: mib(this.#idleMemory), aim: '' };
    await this.#agent.node.stopAgent();
    await this.#cluster.server.call('fill', { size, node: this.#agent.node.name });
    const cpu = await this.#serverCpu();
    const { ready } = await this.#agent.start();
    const server = (await this.#serverCpu()) - cpu;
    const found = `${seconds(ready)} (server ${server.toFixed(1)} s of CPU)`;
    yield { what: `first start to enforcing, ${size.endpoints.toLocaleString('en')} endpoints`, found, aim: '< 10 s' };
    yield { what: '  processor time of that', found: `${this.#agent.cpu().toFixed(1)} s`, aim: '' };
    yield await this.#stall('  event loop late by at most');
    await this.#known();
    yield* await this.#memory('after that');
  }

  /** Pods of the real node, as a runtime adds them. */
  async *endpoints(): AsyncGenerator<Row> {
    const { node } = this.#agent;
    const objects = await this.#cluster.server.list('/api/v1/pods');
    const times: number[] = [];
    for (const { metadata } of objects as { metadata: { name: string; namespace: string; uid: string } }[]) {
      const pod = this.#stack.use(new Pod(node, metadata.name, metadata.namespace, metadata.uid));
      const began = performance.now();
      await pod.add();
      times.push(performance.now() - began);
    }
    this.#watch = this.#stack.use(new KernelWatch(node.bpfRoot, await this.#localPods()));
    yield { what: `ADD of each of ${times.length} pods: ${P50_P99}`, found: percentiles(times), aim: '' };
    yield await this.#stall('  event loop late by at most');
  }

  /** Numbers of the endpoints of the real node's pods, in the order of the pods. Its health endpoint is not one of them. */
  async #localPods(): Promise<readonly number[]> {
    const members = new Map<number, number>();
    for (const { id, status } of await this.#api.endpoints()) {
      const member = status?.identity?.labels
        ?.map((label) => /^k8s:member=local-(\d+)$/.exec(label)?.[1])
        .find(Boolean);
      if (member !== undefined) members.set(Number(member), id);
    }
    return [...members].sort(([a], [b]) => a - b).map(([, id]) => id);
  }

  /** Pods of other nodes come, go and change. */
  async *churn(): AsyncGenerator<Row> {
    const { seconds: time, perSecond } = this.#options;
    await this.#cluster.server.call('beginChurn', { perSecond });
    await this.#agent.longestStall();
    const [cpu, began] = [this.#agent.cpu(), performance.now()];
    await new Promise((resolve) => setTimeout(resolve, time * 1000));
    const cores = (this.#agent.cpu() - cpu) / ((performance.now() - began) / 1000);
    yield { what: `${perSecond} pod changes a second: processors`, found: cores.toFixed(2), aim: '< 0.5' };
    yield await this.#stall('  event loop late by at most');
    yield* await this.#memory('  memory meanwhile');
  }

  /** Changes of policy during the churn, for all local pods and for one, as enforcement stands and turning it on. */
  async *policies(): AsyncGenerator<Row> {
    for (const everyLocal of [true, false]) {
      for (const direction of ['ingress', 'egress'] as const) {
        yield* this.#probe(everyLocal, direction);
      }
    }
    yield await this.#stall('  event loop late by at most');
    await this.#cluster.server.call('endChurn', {});
  }

  async *#probe(everyLocal: boolean, direction: 'ingress' | 'egress'): AsyncGenerator<Row> {
    const { server } = this.#cluster;
    const watch = this.#watch!;
    const only = everyLocal ? 'all' : 'first';
    // Every local pod is under a policy for what it receives, and none for what it sends.
    const turnsOn = direction === 'egress';
    const [name, app] = [`probe-${direction}-${only}`, 'app-7'];
    const [peer] = this.#simulated.identitiesOf(app, `team-${this.#simulated.namespaces - 1}`);
    const expect = (port: number, present: boolean) => ({ direction, identity: peer!, port, present });
    const delays: number[] = [];
    const before = this.#agent.cpu();
    let port = 0;
    for (let round = 0; round <= this.#options.rounds; round++) {
      const last = port;
      port = this.#port++;
      const objects = [probePolicy({ name, everyLocal, direction, app, port })];
      const expected = [expect(port, true), ...(round > 0 && !turnsOn ? [expect(last, false)] : [])];
      const order = { path: POLICIES, objects, replace: round > 0 && !turnsOn };
      const [seen, sent] = await Promise.all([watch.see(expected, only), server.call('write', order)]);
      const delay = Number(seen - BigInt((sent as Sent).answered)) / 1e6;
      // The first is new; what is measured is the change of what is there, or that enforcement is turned on.
      if (round > 0) delays.push(Math.max(0, delay));
      if (turnsOn) await this.#erase([name], [expect(port, false)], only);
    }
    if (!turnsOn) await this.#erase([name], [expect(port, false)], only);
    const cpu = ((this.#agent.cpu() - before) * 1000) / (this.#options.rounds + 1);
    const whom = everyLocal ? `${this.#options.size.local} local pods` : 'one local pod';
    const how = turnsOn ? 'turning enforcement on' : 'enforced already';
    const aim = everyLocal ? 'p99 < 100 ms' : '< 20 ms';
    yield { what: `policy change in the kernel, ${whom}, ${how}: ${P50_P99}`, found: percentiles(delays), aim };
    const what = `  processor time of each${turnsOn ? ', with the change back' : ''}, churn included`;
    yield { what, found: `${cpu.toFixed(0)} ms`, aim: '' };
  }

  async #erase(names: readonly string[], expected: Parameters<KernelWatch['see']>[0], only: 'first' | 'all') {
    await this.#cluster.server.call('erase', { path: POLICIES, names });
    await this.#watch!.see(expected, only);
  }

  /** Many clusterwide policies at once. */
  async *burst(): AsyncGenerator<Row> {
    const { burst, size } = this.#options;
    const [app, namespace] = ['app-7', `team-${this.#simulated.namespaces - 1}`];
    const [peer] = this.#simulated.identitiesOf(app, namespace);
    const numbers = Array.from({ length: burst }, (_, i) => i);
    const objects = numbers.map((i) =>
      probePolicy({ name: `burst-${i}`, everyLocal: true, direction: 'ingress', app, namespace, port: 30_000 + i }),
    );
    const expected = numbers.map((i) => ({
      ...{ direction: 'ingress' as const, identity: peer!, port: 30_000 + i, present: true },
    }));
    const order = { path: POLICIES, objects, replace: false };
    const [done, times] = await Promise.all([
      this.#watch!.see(expected, 'all'),
      this.#cluster.server.call('write', order),
    ]);
    const { sent, answered } = times as Sent;
    const [fromFirst, fromLast] = [sent, answered].map((time) => Number(done - BigInt(time)) / 1e6);
    const found = `${seconds(fromFirst!)} (last answer ${seconds(fromLast!)} before)`;
    const aim = 'Cilium: 3 s';
    yield { what: `${burst} clusterwide policies at once, for ${size.local} pods: all in the kernel`, found, aim };
    yield await this.#stall('  event loop late by at most');
    yield* await this.#memory('  memory after that');
    const names = objects.map(({ metadata }) => (metadata as { name: string }).name);
    await this.#erase(
      names,
      expected.map((one) => ({ ...one, present: false })),
      'all',
    );
  }

  /** The agent starts again, with its pods, in the full cluster. */
  async *restart(): AsyncGenerator<Row> {
    await this.#agent.node.stopAgent();
    const times: StartTimes = await this.#agent.start();
    const { restored, ready } = times;
    const what = 'restart in the full cluster, what was enforced is known: until';
    yield { what, found: seconds(restored), aim: '< 1 s' };
    yield { what: '  everything is known and enforced', found: seconds(ready), aim: '< 10 s' };
    yield* await this.#memory('  memory after that');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack[Symbol.asyncDispose]();
  }

  /** Resolves when the kernel knows every endpoint of the other nodes. */
  async #known(): Promise<void> {
    const { bpfRoot } = this.#agent.node;
    const { endpoints } = this.#options.size;
    await waitFor('all endpoints to be known', async () => (await ipcacheSize(bpfRoot)) >= 2 * endpoints, 60_000);
  }

  async #rest(): Promise<void> {
    if (this.#options.settle) await this.#agent.rest();
  }

  async #memory(when: string): Promise<Row[]> {
    await this.#rest();
    const { rss, peak } = this.#agent.memory();
    const each = ((rss - this.#idleMemory) * 1024) / this.#options.size.endpoints;
    return [
      { what: `${when}: memory`, found: `${mib(rss)} (at most ${mib(peak)})`, aim: '< 300 MB; Cilium: 438 MiB' },
      { what: '    above an empty cluster, each remote endpoint', found: `${each.toFixed(1)} KiB`, aim: '< 5 KB' },
    ];
  }

  async #stall(what: string): Promise<Row> {
    return { what, found: `${(await this.#agent.longestStall()).toFixed(0)} ms`, aim: '' };
  }

  async #serverCpu(): Promise<number> {
    return ((await this.#cluster.server.call('endChurn', {})) as { cpu: number }).cpu;
  }
}

const P50_P99 = 'p50 / p99';
const percentiles = (times: readonly number[]): string =>
  `${percentile(times, 0.5).toFixed(1)} / ${percentile(times, 0.99).toFixed(1)} ms`;
const seconds = (milliseconds: number): string => `${(milliseconds / 1000).toFixed(2)} s`;
const mib = (value: number): string => `${value.toFixed(0)} MiB`;
