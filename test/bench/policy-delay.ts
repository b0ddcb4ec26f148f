/** From the API server's answer to a change of policy until the kernels of three nodes have it: all agents are real. */
import path from 'node:path';
import { KubernetesCluster } from '../harness/kubernetes-cluster.ts';
import { Pod } from '../harness/pod.ts';
import { KernelWatch, type Expected } from './scale/kernel-watch.ts';
import type { Sent, Writing } from './scale/load.ts';
import { percentile, type Bench } from './suite.ts';

/** Of each node. */
const PODS = { full: 50, quick: 3 } as const;
const ROUNDS = { full: 100, quick: 3 } as const;
const NODES = 3;

const POLICIES = '/apis/cilium.io/v2/ciliumclusterwidenetworkpolicies';
const FIRST_PORT = 20_000;

export const bench: Bench = {
  name: 'policy-delay',
  title: 'policy changes, from the answer of the API server to the kernels of three nodes (--quick: 3 pods a node)',
  async run(print, { quick }) {
    const size = quick ? 'quick' : 'full';
    await using scene = await Scene.prepare(PODS[size]);
    for (const whom of ['all', 'first'] as const) {
      for (const turnsOn of [false, true]) {
        const delays = await scene.probe(whom, turnsOn, ROUNDS[size]);
        const pods = whom === 'all' ? `${PODS[size]} pods of each node` : 'one pod of each node';
        const what = `${pods}, ${turnsOn ? 'turning enforcement on' : 'enforced already'}: p50 / p99`;
        const [p50, p99] = [percentile(delays, 0.5), percentile(delays, 0.99)].map((ms) => ms.toFixed(1));
        print(`${what.padEnd(64)} ${`${p50} / ${p99} ms`.padStart(18)}   p99 < ${whom === 'all' ? 100 : 20} ms`);
      }
    }
  },
};

type Direction = Expected['direction'];

class Scene implements AsyncDisposable {
  readonly #cluster: KubernetesCluster;
  readonly #watches: readonly KernelWatch[];
  readonly #peer: number;
  readonly #stack: AsyncDisposableStack;
  #port = FIRST_PORT;

  private constructor(
    cluster: KubernetesCluster,
    watches: readonly KernelWatch[],
    peer: number,
    stack: AsyncDisposableStack,
  ) {
    this.#cluster = cluster;
    this.#watches = watches;
    this.#peer = peer;
    this.#stack = stack;
  }

  /** Three nodes with so many pods each, under a policy for what they receive and none for what they send. */
  static async prepare(pods: number): Promise<Scene> {
    await using stack = new AsyncDisposableStack();
    const module = path.join(import.meta.dirname, 'scale/load.ts');
    const flags = ['--routing-mode', 'tunnel'];
    const cluster = stack.use(await KubernetesCluster.start({ nodes: NODES, flags, module }));
    const { members } = cluster.nodes;
    const watches = await Promise.all(
      members.map(async ({ node, api }) => {
        for (let i = 0; i < pods; i++) await addPod(stack, cluster, node, i);
        const endpoints = await api.endpoints();
        // The node's health endpoint is not of them.
        const members = (role: string): number[] =>
          endpoints
            .filter(({ status }) => status?.identity?.labels?.includes(`k8s:member=${role}`) === true)
            .map(({ id }) => id);
        return stack.use(new KernelWatch(node.bpfRoot, [...members('first'), ...members('other')]));
      }),
    );
    await cluster.settled();
    const { id } = (await members[0]!.api.identities()).find(({ labels }) => labels?.includes('k8s:member=first'))!;
    const scene = new Scene(cluster, watches, id!, stack);
    await scene.#write('base', 'all', 'ingress', FIRST_PORT - 1, false);
    await scene.#seen([scene.#entry('ingress', FIRST_PORT - 1, true)], 'all');
    stack.move();
    return scene;
  }

  /** How long each change took, in milliseconds. */
  async probe(whom: 'first' | 'all', turnsOn: boolean, rounds: number): Promise<readonly number[]> {
    const direction = turnsOn ? 'egress' : 'ingress';
    const name = `probe-${whom}-${direction}`;
    const delays: number[] = [];
    for (let round = 0; round <= rounds; round++) {
      const last = this.#port++;
      const port = this.#port;
      const changes = round > 0 && !turnsOn;
      const expected = [this.#entry(direction, port, true), ...(changes ? [this.#entry(direction, last, false)] : [])];
      const [seen, { answered }] = await Promise.all([
        this.#seen(expected, whom),
        this.#write(name, whom, direction, port, changes),
      ]);
      const delay = Number(seen - BigInt(answered)) / 1e6;
      // The first is new; what is measured is the change of what is there, or that enforcement is turned on.
      if (round > 0) delays.push(Math.max(0, delay));
      if (turnsOn) await this.#erase(name, this.#entry(direction, port, false), whom);
    }
    if (!turnsOn) await this.#erase(name, this.#entry(direction, this.#port, false), whom);
    return delays;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack[Symbol.asyncDispose]();
  }

  #entry(direction: Direction, port: number, present: boolean): Expected {
    return { direction, identity: this.#peer, port, present };
  }

  /** When the last node has it. */
  async #seen(expected: readonly Expected[], whom: 'first' | 'all'): Promise<bigint> {
    const times = await Promise.all(this.#watches.map(async (watch) => await watch.see(expected, whom)));
    return times.reduce((latest, time) => (time > latest ? time : latest));
  }

  async #write(
    name: string,
    whom: 'first' | 'all',
    direction: Direction,
    port: number,
    replace: boolean,
  ): Promise<Sent> {
    const objects = [policyObject(name, whom, direction, port)];
    return (await this.#cluster.server.call('write', { path: POLICIES, objects, replace } satisfies Writing)) as Sent;
  }

  async #erase(name: string, gone: Expected, whom: 'first' | 'all'): Promise<void> {
    await this.#cluster.server.call('erase', { path: POLICIES, names: [name] });
    await this.#seen([gone], whom);
  }
}

/** A pod that its runtime has added; nothing runs in it. */
async function addPod(
  stack: AsyncDisposableStack,
  { server }: KubernetesCluster,
  node: Pod['node'],
  index: number,
): Promise<void> {
  const name = `${node.name}-${index}`;
  const labels = { member: index === 0 ? 'first' : 'other', role: 'subject' };
  const { metadata } = await server.create('/api/v1/namespaces/default/pods', {
    ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name, labels } },
    spec: { nodeName: node.name, containers: [{ name: 'main', image: 'busybox' }] },
  });
  await stack.use(new Pod(node, name, 'default', (metadata as { uid: string }).uid)).add();
}

function policyObject(name: string, whom: 'first' | 'all', direction: Direction, port: number) {
  const endpointSelector = { matchLabels: whom === 'all' ? { role: 'subject' } : { member: 'first' } };
  const peers = [{ matchLabels: { member: 'first' } }];
  const toPorts = [{ ports: [{ port: String(port), protocol: 'TCP' }] }];
  return {
    ...{ apiVersion: 'cilium.io/v2', kind: 'CiliumClusterwideNetworkPolicy', metadata: { name } },
    spec:
      direction === 'ingress'
        ? { endpointSelector, ingress: [{ fromEndpoints: peers, toPorts }] }
        : { endpointSelector, egress: [{ toEndpoints: peers, toPorts }] },
  };
}
