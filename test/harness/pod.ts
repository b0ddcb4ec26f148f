import path from 'node:path';
import { Actor } from './actor.ts';
import { runAsync, type Output } from './exec.ts';
import { Netns } from './netns.ts';
import { dist, type WeirNode } from './node.ts';

/** A result of weir-cni ADD, as far as tests look at it. */
export interface CniResult {
  readonly cniVersion: string;
  readonly interfaces: readonly { readonly name: string; readonly mac: string; readonly sandbox?: string }[];
  readonly ips: readonly { readonly address: string; readonly gateway: string; readonly interface: number }[];
}

/** Runs weir-cni as a runtime does. */
export async function cni(
  node: WeirNode,
  command: 'ADD' | 'DEL' | 'CHECK' | 'STATUS' | 'GC' | 'VERSION',
  pod: { containerId: string; netns: string; ifName?: string; args?: string },
  config: Readonly<Record<string, unknown>> = {},
): Promise<Output> {
  return await runAsync([path.join(dist, 'weir-cni')], {
    input: JSON.stringify({ cniVersion: '1.0.0', name: 'weir', type: 'weir-cni', socket: node.socket, ...config }),
    env: {
      PATH: process.env['PATH'],
      CNI_COMMAND: command,
      CNI_CONTAINERID: pod.containerId,
      CNI_NETNS: pod.netns,
      CNI_IFNAME: pod.ifName ?? 'eth0',
      CNI_PATH: dist,
      CNI_ARGS: pod.args ?? '',
    },
  });
}

/** A pod: a network namespace that weir-cni has joined to the node, and a process inside it. */
export class Pod implements AsyncDisposable {
  readonly node: WeirNode;
  readonly namespace: string;
  readonly name: string;
  readonly ns: Netns;
  readonly containerId: string;
  #result: CniResult | undefined;
  #actor: Actor | undefined;

  /** Of the Pod object, when there is one. */
  readonly uid: string | undefined;

  constructor(node: WeirNode, name: string, namespace = 'default', uid?: string) {
    this.uid = uid;
    this.node = node;
    this.name = name;
    this.namespace = namespace;
    this.ns = new Netns(`pod-${name}`);
    this.containerId = this.ns.name;
  }

  /** Adds the pod through weir-cni and starts its process. */
  static async create(node: WeirNode, name: string, namespace = 'default', uid?: string): Promise<Pod> {
    const pod = new Pod(node, name, namespace, uid);
    try {
      await pod.add();
      pod.#actor = await Actor.start(pod.ns, node.cgroup);
      return pod;
    } catch (error) {
      await pod[Symbol.asyncDispose]();
      throw error;
    }
  }

  get cniArgs(): string {
    const uid = this.uid === undefined ? '' : `;K8S_POD_UID=${this.uid}`;
    return `IgnoreUnknown=1;K8S_POD_NAMESPACE=${this.namespace};K8S_POD_NAME=${this.name};K8S_POD_INFRA_CONTAINER_ID=${this.containerId}${uid}`;
  }

  get actor(): Actor {
    return this.#actor!;
  }

  get ipv4(): string {
    return this.#address('.');
  }

  get ipv6(): string {
    return this.#address(':');
  }

  async add(): Promise<void> {
    const { stdout, stderr, status } = await this.cni('ADD');
    if (status !== 0)
      throw new Error(`weir-cni ADD ${this.name}: exit ${status}\n${stdout}${stderr}\n${this.node.logTail()}`);
    this.#result = JSON.parse(stdout) as CniResult;
  }

  async cni(command: 'ADD' | 'DEL' | 'CHECK'): Promise<Output> {
    return await cni(this.node, command, { containerId: this.containerId, netns: this.ns.path, args: this.cniArgs });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#actor?.[Symbol.asyncDispose]();
    try {
      const { status, stdout } = await this.cni('DEL');
      if (status !== 0) throw new Error(`weir-cni DEL ${this.name}: exit ${status} ${stdout}`);
    } finally {
      this.ns[Symbol.dispose]();
    }
  }

  #address(mark: string): string {
    const found = this.#result?.ips.find((ip) => ip.address.includes(mark));
    if (found === undefined) throw new Error(`pod ${this.name} has no address with ${JSON.stringify(mark)}`);
    return found.address.split('/')[0]!;
  }
}

/** The manifest of a Pod object. */
export function podManifest(name: string, labels: Readonly<Record<string, string>>, namespace = 'default'): string {
  const lines = Object.entries(labels).map(([key, value]) => `    ${key}: ${JSON.stringify(value)}`);
  return `apiVersion: v1
kind: Pod
metadata:
  name: ${name}
  namespace: ${namespace}
  labels:
${lines.join('\n')}
spec:
  containers:
    - name: main
      image: busybox
`;
}

/** The manifest of a Namespace object. */
export function namespaceManifest(name: string, labels: Readonly<Record<string, string>> = {}): string {
  const lines = Object.entries({ 'kubernetes.io/metadata.name': name, ...labels });
  return `apiVersion: v1
kind: Namespace
metadata:
  name: ${name}
  labels:
${lines.map(([key, value]) => `    ${key}: ${JSON.stringify(value)}`).join('\n')}
`;
}

/** The manifest of a policy: the pods `app: server` of the default namespace admit only those of `app`. */
export function serverPolicy(app: string): string {
  return `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata:
  name: server
  namespace: default
spec:
  endpointSelector:
    matchLabels:
      app: server
  ingress:
    - fromEndpoints:
        - matchLabels:
            app: ${app}
`;
}
