/** Nodes that know each other, and their pods, by an API server alone; kubelets that run what it says. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { ApiServerProcess } from './api-server.ts';
import { Cluster, type Member } from './cluster.ts';
import { Etcd } from './etcd.ts';
import { runAsync, type Output } from './exec.ts';
import { WORLD_ADDRESSES } from './node.ts';
import { OperatorProcess } from './operator-process.ts';
import { Pod } from './pod.ts';
import { uniqueName } from './run.ts';
import { waitFor } from './wait.ts';

export interface KubernetesClusterOptions {
  readonly nodes: number;
  /** Of the agents. */
  readonly flags: readonly string[];
  /** Of an operator; absent: none runs, and the custom resources are there from the start. */
  readonly operator?: readonly string[];
  /** Who gives nodes the addresses of their pods; the operator does from its pool. */
  readonly ipam?: 'kubernetes' | 'cluster-pool';
  /** Translate services of the sockets of a cgroup of each node's own. */
  readonly socketLb?: boolean;
  /** File whose functions run inside the API server's process. */
  readonly module?: string;
  /** Agents tell each other of identities, addresses and nodes through etcd, which runs beside the API server. */
  readonly kvstore?: boolean;
  /** False: the caller starts the agents. */
  readonly startAgents?: boolean;
}

/** What an operator of `cluster-pool` is told by install/kubernetes/config.yaml. */
const POOL_FLAGS = [
  ...['--ipam', 'cluster-pool'],
  ...['--cluster-pool-ipv4-cidr', '10.244.0.0/16', '--cluster-pool-ipv4-mask-size', '24'],
  ...['--cluster-pool-ipv6-cidr', 'fd00:10:244::/104', '--cluster-pool-ipv6-mask-size', '120'],
];

const ETCD_PORT = 2379;
const ETCD_FLAGS = [
  ...['--identity-allocation-mode', 'kvstore', '--kvstore', 'etcd'],
  ...['--kvstore-opt', `etcd.address=http://${WORLD_ADDRESSES.v4}:${ETCD_PORT}`],
];

/** A cluster on an API server. */
export class KubernetesCluster implements AsyncDisposable {
  readonly nodes: Cluster;
  readonly server: ApiServerProcess;
  readonly operator: OperatorProcess | undefined;
  readonly #etcd: Etcd | undefined;
  readonly #directory: string;
  readonly #pods = new Map<string, Pod>();

  private constructor(
    nodes: Cluster,
    server: ApiServerProcess,
    operator: OperatorProcess | undefined,
    etcd: Etcd | undefined,
    directory: string,
  ) {
    this.nodes = nodes;
    this.server = server;
    this.operator = operator;
    this.#etcd = etcd;
    this.#directory = directory;
  }

  static async start(options: KubernetesClusterOptions): Promise<KubernetesCluster> {
    await using undo = new AsyncDisposableStack();
    const {
      flags: given,
      operator: operatorFlags,
      ipam = 'kubernetes',
      socketLb = false,
      startAgents = true,
    } = options;
    const { module } = options;
    const directory = mkdtempSync(path.join(tmpdir(), `${uniqueName('api')}-`));
    undo.defer(() => rmSync(directory, { recursive: true, force: true }));
    const store = options.kvstore === true ? ETCD_FLAGS : [];
    const flags = [
      ...given,
      ...store,
      '--k8s-kubeconfig-path',
      path.join(directory, 'kubeconfig.agent'),
      '--ipam',
      ipam,
    ];
    const nodes = undo.use(Cluster.prepare({ nodes: options.nodes, flags, manifests: false, socketLb }));
    const ns = nodes.world;
    const etcd =
      options.kvstore === true
        ? undo.use(await Etcd.start({ enter: ns.enter, host: WORLD_ADDRESSES.v4, port: ETCD_PORT }))
        : undefined;
    const definitions = operatorFlags === undefined;
    const server = undo.use(
      await ApiServerProcess.start({ ns, directory, definitions, ...(module !== undefined && { module }) }),
    );
    const operator =
      operatorFlags === undefined
        ? undefined
        : new OperatorProcess({
            ...{ ns, kubeconfig: server.kubeconfig('operator'), log: path.join(directory, 'operator.log') },
            flags: [...(ipam === 'cluster-pool' ? POOL_FLAGS : []), ...store, ...operatorFlags],
          });
    if (operator !== undefined) undo.use(operator);
    const cluster = new KubernetesCluster(nodes, server, operator, etcd, directory);
    await Promise.all(nodes.members.map((member) => cluster.#register(member, ipam)));
    await Promise.all([operator?.start(), ...(startAgents ? nodes.members.map(({ node }) => node.startAgent()) : [])]);
    if (ipam === 'cluster-pool') await cluster.#routeFromWorld();
    undo.move();
    return cluster;
  }

  /** @throws Error when it was started without `kvstore` */
  get etcd(): Etcd {
    if (this.#etcd === undefined) throw new Error('the cluster has no etcd');
    return this.#etcd;
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

  /** Runs the real kubectl as the administrator, from where the API server is. */
  async kubectl(words: string, input?: string): Promise<Output> {
    const env = { ...process.env, HOME: this.#directory, KUBECONFIG: this.server.kubeconfig('admin') };
    return await runAsync([...this.nodes.world.enter, 'kubectl', ...words.split(' ')], {
      env,
      ...(input !== undefined && { input }),
    });
  }

  /** Resolves when every agent knows every running pod of the other nodes under one identity. */
  async settled(): Promise<void> {
    const addresses = [...this.#pods.values()].flatMap((pod) => [`${pod.ipv4}/32`, `${pod.ipv6}/128`]);
    await waitFor('all nodes to know all pods', async () => {
      const tables = await Promise.all(this.nodes.members.map(async ({ api }) => await api.ips()));
      const answers = tables.map((entries) => new Map(entries.map(({ cidr, identity }) => [cidr, identity])));
      return addresses.every((address) => {
        const known = new Set(answers.map((table) => table.get(address)));
        return known.size === 1 && !known.has(undefined);
      });
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const pod of this.#pods.values()) await pod[Symbol.asyncDispose]();
    await this.nodes[Symbol.asyncDispose]();
    await this.operator?.[Symbol.asyncDispose]();
    await this.server[Symbol.asyncDispose]();
    await this.#etcd?.[Symbol.asyncDispose]();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  /** What a kubelet says of its node, and in `kubernetes` mode the controller manager. */
  async #register({ node, ipv4, ipv6, podCidrs }: Member, ipam: 'kubernetes' | 'cluster-pool'): Promise<void> {
    await this.server.create('/api/v1/nodes', {
      ...{ apiVersion: 'v1', kind: 'Node', metadata: { name: node.name } },
      ...(ipam === 'kubernetes' && { spec: { podCIDR: podCidrs[0], podCIDRs: podCidrs } }),
    });
    await this.server.merge(`/api/v1/nodes/${node.name}/status`, {
      status: { addresses: [ipv4, ipv6].map((address) => ({ type: 'InternalIP', address })) },
    });
  }

  /** The world must find back to pods, whichever addresses the operator gave to whichever node. */
  async #routeFromWorld(): Promise<void> {
    for (const { node, ipv4, ipv6 } of this.nodes.members) {
      const object = await this.server.get(`/apis/cilium.io/v2/ciliumnodes/${node.name}`);
      const { ipam } = object['spec'] as { ipam: { podCIDRs: string[] } };
      for (const cidr of ipam.podCIDRs)
        this.nodes.world.ip(`route replace ${cidr} via ${cidr.includes(':') ? ipv6 : ipv4}`);
    }
  }
}
