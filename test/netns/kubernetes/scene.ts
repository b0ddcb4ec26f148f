/** Three nodes with pods of several kinds, and the flows between them that a policy allows or denies. */
import { KubernetesCluster, type KubernetesClusterOptions } from '../../harness/kubernetes-cluster.ts';
import type { Pod } from '../../harness/pod.ts';
import type { Flow, Verdict } from '../../harness/traffic.ts';

export const PORT = 8080;
/** Nobody may speak to the server here. */
export const OTHER_PORT = 9090;
export const SERVICE = '10.96.0.80';
export const POLICIES = '/apis/cilium.io/v2/namespaces/default/ciliumnetworkpolicies';

/** Where a cluster keeps its identities and addresses; every test of this folder holds for each of them. */
export interface Mode {
  readonly name: string;
  /** Identities are objects of the API server. */
  readonly identityObjects: boolean;
  start(): Promise<KubernetesCluster>;
  /** What else can be killed here: each kills it, waits as it is told to, and brings it back. */
  faults?(cluster: KubernetesCluster): Readonly<Record<string, Fault>>;
}

export type Fault = (wait: () => Promise<void>) => Promise<void>;

/** Where each agent, in its node's namespace, serves its metrics. */
export const METRICS = '127.0.0.1:9962';

const COMMON: KubernetesClusterOptions = {
  nodes: 3,
  flags: ['--routing-mode', 'tunnel', '--metrics-listen', METRICS],
  ipam: 'cluster-pool',
  operator: [],
};

export const MODES: readonly Mode[] = [
  { name: 'custom resources', identityObjects: true, start: () => KubernetesCluster.start(COMMON) },
  {
    ...{ name: 'etcd', identityObjects: false, faults: etcdFaults },
    start: () => KubernetesCluster.start({ ...COMMON, kvstore: true }),
  },
];

/** The first of them, but agents learn of endpoints from slices, which the operator makes. */
export const IN_SLICES: Mode = {
  ...{ name: 'custom resources, endpoints in slices', identityObjects: true },
  start: () =>
    KubernetesCluster.start({
      ...COMMON,
      flags: [...COMMON.flags, '--enable-cilium-endpoint-slice'],
      operator: ['--enable-cilium-endpoint-slice'],
    }),
};

/** Each takes etcd away in another way. */
function etcdFaults({ etcd, nodes }: KubernetesCluster): Readonly<Record<string, Fault>> {
  const [first] = nodes.members as [Member];
  return {
    'etcd, which goes on with what it held': async (wait) => {
      await etcd.halt();
      await wait();
      await etcd.resume();
    },
    'etcd, which comes back with nothing': async (wait) => {
      await etcd.halt();
      await wait();
      await etcd.wipe();
    },
    'an agent while there is no etcd': async (wait) => {
      await etcd.halt();
      await first.node.stopAgent('SIGKILL');
      const restarted = first.node.startAgent();
      await wait();
      await etcd.resume();
      await restarted;
    },
  };
}

type Member = KubernetesCluster['nodes']['members'][number];

export interface Scene {
  readonly cluster: KubernetesCluster;
  readonly members: readonly [Member, Member, Member];
  /** On the first node. */
  readonly server: Pod;
  /** A client on each node. */
  readonly clients: readonly [Pod, Pod, Pod];
  /** On the second and the third node; the server does not admit them. */
  readonly strangers: readonly [Pod, Pod];
}

/** The server admits clients on one port. Clients may send to it, by its own addresses or by its service. */
export const serverPolicy = (app = 'client') => ({
  ...{ apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: { name: 'server', namespace: 'default' } },
  spec: {
    endpointSelector: { matchLabels: { app: 'server' } },
    ingress: [
      {
        fromEndpoints: [{ matchLabels: { app } }],
        toPorts: [{ ports: ['TCP', 'UDP'].map((protocol) => ({ port: String(PORT), protocol })) }],
      },
    ],
  },
});

export async function openScene(mode: Mode): Promise<Scene> {
  const cluster = await mode.start();
  try {
    return await populate(cluster);
  } catch (error) {
    await cluster[Symbol.asyncDispose]();
    throw error;
  }
}

async function populate(cluster: KubernetesCluster): Promise<Scene> {
  const members = cluster.nodes.members as unknown as Scene['members'];
  const [one, two, three] = members;
  const server = await cluster.run(one, 'server', { app: 'server' });
  for (const port of [PORT, OTHER_PORT]) await server.actor.do({ op: 'serve', port });
  const clients = [];
  for (const [i, member] of members.entries())
    clients.push(await cluster.run(member, `client${i + 1}`, { app: 'client' }));
  const strangers = [];
  for (const [i, member] of [two, three].entries())
    strangers.push(await cluster.run(member, `stranger${i + 1}`, { app: 'stranger' }));
  await serveService(cluster, server);
  await cluster.server.create(POLICIES, serverPolicy());
  await cluster.settled();
  return { cluster, members, server, clients: clients as never, strangers: strangers as never };
}

/** The service `server`, and its backend, as the controllers of a cluster write it. */
async function serveService({ server: api }: KubernetesCluster, pod: Pod): Promise<void> {
  const ports = ['TCP', 'UDP'].map((protocol) => ({ name: protocol.toLowerCase(), protocol, port: PORT }));
  await api.create('/api/v1/namespaces/default/services', {
    ...{ apiVersion: 'v1', kind: 'Service', metadata: { name: 'server' } },
    spec: { clusterIP: SERVICE, clusterIPs: [SERVICE], selector: { app: 'server' }, ports },
  });
  await api.create('/apis/discovery.k8s.io/v1/namespaces/default/endpointslices', {
    ...{ apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', addressType: 'IPv4', ports },
    metadata: { name: 'server-1', labels: { 'kubernetes.io/service-name': 'server' } },
    endpoints: [{ addresses: [pod.ipv4], conditions: { ready: true }, nodeName: pod.node.name }],
  });
}

/** What policy says of the flows of a scene, those of clients and of strangers to the server. */
export function flowsOf({ server, clients, strangers }: Scene): readonly Flow[] {
  const flows: Flow[] = [];
  const add = (from: Pod, to: string, host: string, port: number, verdict: Verdict): void => {
    for (const transport of ['tcp', 'udp', 'udp-kept'] as const)
      flows.push({ name: `${from.name} ${to} ${transport}`, from, host, port, transport, verdict });
  };
  for (const client of clients) {
    add(client, 'server v4', server.ipv4, PORT, 'allowed');
    add(client, 'server v6', server.ipv6, PORT, 'allowed');
    add(client, 'service', SERVICE, PORT, 'allowed');
    // Never over TCP: a pod whose SYNs are lost for good reason cannot tell that others are.
    for (const transport of ['udp', 'udp-kept'] as const)
      flows.push({
        name: `${client.name} other port ${transport}`,
        ...{ from: client, host: server.ipv4, port: OTHER_PORT, transport, verdict: 'denied' },
      });
  }
  for (const stranger of strangers) {
    add(stranger, 'server v4', server.ipv4, PORT, 'denied');
    add(stranger, 'server v6', server.ipv6, PORT, 'denied');
    add(stranger, 'service', SERVICE, PORT, 'denied');
  }
  return flows;
}

/** The verdicts when the server admits pods of another kind. */
export function whenAdmitting(app: 'client' | 'stranger', flows: readonly Flow[]): Readonly<Record<string, Verdict>> {
  return Object.fromEntries(
    flows
      .filter(({ port }) => port === PORT)
      .map(({ name }) => [name, name.startsWith(app) ? ('allowed' as const) : ('denied' as const)]),
  );
}
