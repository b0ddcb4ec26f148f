/** Nodes that know each other, and their pods, by an API server alone; kubelets that run what it says. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { ApiRequest } from '../../agent/k8s/apiserver/client.ts';
import type { Order, OrderAnswer } from './api-server-process.ts';
import { Cluster, type Member } from './cluster.ts';
import { stop } from './exec.ts';
import type { Netns } from './netns.ts';
import { WORLD_ADDRESSES } from './node.ts';
import { Pod } from './pod.ts';
import { uniqueName } from './run.ts';
import { waitFor } from './wait.ts';

type Json = Readonly<Record<string, unknown>>;

/** What a test wants to do, without the number that its answer is found by. */
type Wish = Order extends infer O ? (O extends Order ? Omit<O, 'id'> : never) : never;

/** An API server in the namespace of the world. */
export class ApiServerProcess implements AsyncDisposable {
  readonly kubeconfig: string;
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (answer: OrderAnswer) => void>();
  #next = 1;

  private constructor(child: ChildProcess, kubeconfig: string) {
    this.#child = child;
    this.kubeconfig = kubeconfig;
    child.on('message', (answer: OrderAnswer) => {
      this.#waiting.get(answer.id)?.(answer);
      this.#waiting.delete(answer.id);
    });
  }

  static async start(ns: Netns, directory: string): Promise<ApiServerProcess> {
    const kubeconfig = path.join(directory, 'kubeconfig');
    const script = path.join(import.meta.dirname, 'api-server-process.ts');
    const [command, ...enter] = ns.enter;
    const child = spawn(command!, [...enter, process.execPath, script, WORLD_ADDRESSES.v4, kubeconfig], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    const server = new ApiServerProcess(child, kubeconfig);
    await new Promise<void>((resolve, reject) => {
      server.#waiting.set(0, () => resolve());
      child.once('exit', (code) => reject(new Error(`the API server ended with ${code}`)));
    });
    return server;
  }

  /** Stops answering, and keeps what it stores. */
  async halt(): Promise<void> {
    await this.#order({ do: 'stop' });
  }

  /** Goes on with what it stored. */
  async resume(): Promise<void> {
    await this.#order({ do: 'start' });
  }

  async request(request: ApiRequest): Promise<Json> {
    return (await this.#order({ do: 'request', request })) as Json;
  }

  async create(collection: string, body: Json): Promise<Json> {
    return await this.request({ method: 'POST', path: collection, body });
  }

  async merge(object: string, body: Json): Promise<void> {
    await this.request({ method: 'PATCH', path: object, body, contentType: 'application/merge-patch+json' });
  }

  async delete(object: string): Promise<void> {
    await this.request({ method: 'DELETE', path: object, query: { gracePeriodSeconds: 0 } });
  }

  async list(collection: string): Promise<Json[]> {
    return (await this.request({ method: 'GET', path: collection }))['items'] as Json[];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await stop(this.#child, 'SIGKILL');
  }

  async #order(order: Wish): Promise<unknown> {
    const id = this.#next++;
    const { result, error } = await new Promise<OrderAnswer>((resolve) => {
      this.#waiting.set(id, resolve);
      this.#child.send({ ...order, id });
    });
    if (error !== undefined) throw new Error(error);
    return result;
  }
}

/** A cluster on an API server. */
export class KubernetesCluster implements AsyncDisposable {
  readonly nodes: Cluster;
  readonly server: ApiServerProcess;
  readonly #directory: string;
  readonly #pods = new Map<string, Pod>();

  private constructor(nodes: Cluster, server: ApiServerProcess, directory: string) {
    this.nodes = nodes;
    this.server = server;
    this.#directory = directory;
  }

  static async start(options: {
    readonly nodes: number;
    readonly flags: readonly string[];
  }): Promise<KubernetesCluster> {
    await using undo = new AsyncDisposableStack();
    const directory = mkdtempSync(path.join(tmpdir(), `${uniqueName('api')}-`));
    undo.defer(() => rmSync(directory, { recursive: true, force: true }));
    const kubeconfig = path.join(directory, 'kubeconfig');
    const flags = [...options.flags, '--k8s-kubeconfig-path', kubeconfig, '--ipam', 'kubernetes'];
    const nodes = undo.use(Cluster.prepare({ nodes: options.nodes, flags, manifests: false }));
    const server = undo.use(await ApiServerProcess.start(nodes.world, directory));
    const cluster = new KubernetesCluster(nodes, server, directory);
    await Promise.all(nodes.members.map((member) => cluster.#register(member)));
    await Promise.all(nodes.members.map(({ node }) => node.startAgent()));
    undo.move();
    return cluster;
  }

  /** Creates a pod through the API and runs it, as the scheduler and a kubelet do. */
  async run(
    member: Member,
    name: string,
    labels: Readonly<Record<string, string>>,
    namespace = 'default',
  ): Promise<Pod> {
    const collection = `/api/v1/namespaces/${namespace}/pods`;
    const { metadata } = await this.server.create(collection, {
      ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name, labels } },
      spec: { nodeName: member.node.name, containers: [{ name: 'main', image: 'busybox' }] },
    });
    // At once: the agent may not have heard of the pod yet.
    const pod = await Pod.create(member.node, name, namespace, (metadata as { uid: string }).uid);
    this.#pods.set(`${namespace}/${name}`, pod);
    await this.server.merge(`${collection}/${name}/status`, {
      status: { phase: 'Running', podIP: pod.ipv4, podIPs: [{ ip: pod.ipv4 }, { ip: pod.ipv6 }] },
    });
    return pod;
  }

  /** Deletes a pod through the API and ends it. */
  async end(pod: Pod): Promise<void> {
    this.#pods.delete(`${pod.namespace}/${pod.name}`);
    await pod[Symbol.asyncDispose]();
    await this.server.delete(`/api/v1/namespaces/${pod.namespace}/pods/${pod.name}`);
  }

  /** Resolves when every agent knows every running pod of the other nodes under one identity. */
  async settled(): Promise<void> {
    const addresses = [...this.#pods.values()].flatMap((pod) => [`${pod.ipv4}/32`, `${pod.ipv6}/128`]);
    await waitFor(
      'all nodes to know all pods',
      async () => {
        const tables = await Promise.all(this.nodes.members.map(async ({ api }) => await api.ips()));
        const answers = tables.map((entries) => new Map(entries.map(({ cidr, identity }) => [cidr, identity])));
        return addresses.every((address) => {
          const known = new Set(answers.map((table) => table.get(address)));
          return known.size === 1 && !known.has(undefined);
        });
      },
      30_000,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const pod of this.#pods.values()) await pod[Symbol.asyncDispose]();
    await this.nodes[Symbol.asyncDispose]();
    await this.server[Symbol.asyncDispose]();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  /** What a kubelet says of its node. */
  async #register({ node, ipv4, ipv6, podCidrs }: Member): Promise<void> {
    await this.server.create('/api/v1/nodes', {
      ...{ apiVersion: 'v1', kind: 'Node', metadata: { name: node.name } },
      spec: { podCIDR: podCidrs[0], podCIDRs: podCidrs },
    });
    await this.server.merge(`/api/v1/nodes/${node.name}/status`, {
      status: { addresses: [ipv4, ipv6].map((address) => ({ type: 'InternalIP', address })) },
    });
  }
}
