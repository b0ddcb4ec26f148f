/** Three nodes with pods of several kinds, and the flows between them that a policy allows or denies. */
import { isDeepStrictEqual } from 'node:util';
import { KubernetesCluster, type KubernetesClusterOptions } from '../../harness/kubernetes-cluster.ts';
import type { Pod } from '../../harness/pod.ts';
import type { Flow, Verdict } from '../../harness/traffic.ts';
import { SILENCE_MS, waitFor } from '../../harness/wait.ts';

export const PORT = 8080;
/** Nobody may speak to the server here. */
export const OTHER_PORT = 9090;
export const SERVICE = '10.96.0.80';
export const POLICIES = '/apis/cilium.io/v2/namespaces/default/ciliumnetworkpolicies';
export const NETWORK_POLICIES = '/apis/networking.k8s.io/v1/namespaces/default/networkpolicies';
const POLICY_COLLECTIONS = [POLICIES, '/apis/cilium.io/v2/ciliumclusterwidenetworkpolicies', NETWORK_POLICIES];

/** Where a cluster keeps its identities and addresses; every scene of this folder holds for each of them. */
export interface Mode {
  readonly name: string;
  /** In etcd; else in objects of the API server. */
  readonly kvstore: boolean;
  /** Agents learn of endpoints from slices, which the operator makes. */
  readonly slices: boolean;
}

export const MODES = {
  customResources: { name: 'custom resources', kvstore: false, slices: false },
  etcd: { name: 'etcd', kvstore: true, slices: false },
  slices: { name: 'custom resources, endpoints in slices', kvstore: false, slices: true },
} as const satisfies Record<string, Mode>;

/** Where each agent, in its node's namespace, serves its metrics. */
export const METRICS = '127.0.0.1:9962';

const COMMON = {
  nodes: 3,
  flags: ['--routing-mode', 'tunnel', '--metrics-listen', METRICS],
  ipam: 'cluster-pool',
} satisfies KubernetesClusterOptions;

export type Member = KubernetesCluster['nodes']['members'][number];

export interface Scene {
  readonly mode: Mode;
  readonly cluster: KubernetesCluster;
  readonly members: readonly [Member, Member, Member];
  /** On the first node. */
  readonly server: Pod;
  /** A client on each node. */
  readonly clients: readonly [Pod, Pod, Pod];
  /** On the second and the third node; the server does not admit them. */
  readonly strangers: readonly [Pod, Pod];
  /** On the third node: a client by its labels, but of the namespace `shop`, whose label `team` has its name. */
  readonly guest: Pod;
}

export const podsOf = ({ server, clients, strangers, guest }: Scene): readonly Pod[] => [
  ...[server, ...clients],
  ...[...strangers, guest],
];

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
  const slices = mode.slices ? ['--enable-cilium-endpoint-slice'] : [];
  const cluster = await KubernetesCluster.start({
    ...{ ...COMMON, kvstore: mode.kvstore, operator: slices },
    flags: [...COMMON.flags, ...slices],
  });
  try {
    return await populate(mode, cluster);
  } catch (error) {
    await cluster[Symbol.asyncDispose]();
    throw error;
  }
}

async function populate(mode: Mode, cluster: KubernetesCluster): Promise<Scene> {
  const members = cluster.nodes.members as unknown as Scene['members'];
  const [one, two, three] = members;
  await cluster.server.create(POLICIES, serverPolicy());
  await cluster.server.create('/api/v1/namespaces', { metadata: { name: 'shop', labels: { team: 'shop' } } });
  const server = await cluster.run(one, 'server', { app: 'server' });
  for (const port of [PORT, OTHER_PORT]) await server.actor.do({ op: 'serve', port });
  const clients = [];
  for (const [i, member] of members.entries())
    clients.push(await cluster.run(member, `client${i + 1}`, { app: 'client' }));
  const strangers = [];
  for (const [i, member] of [two, three].entries())
    strangers.push(await cluster.run(member, `stranger${i + 1}`, { app: 'stranger' }));
  const guest = await cluster.run(three, 'guest', { app: 'client' }, 'shop');
  await serveService(cluster, server);
  await cluster.settled();
  return { mode, cluster, members, server, clients: clients as never, strangers: strangers as never, guest };
}

/**
 * What a scene begins with, whatever the one before it has left: well agents that know all pods, and the policy of
 * {@link serverPolicy} alone, which is enforced.
 */
export async function restore({ cluster, members, server, clients, strangers }: Scene): Promise<void> {
  const { server: api } = cluster;
  for (const { node } of members)
    await waitFor(`${node.name} to be well`, async () => (await node.weir('status')).status === 0);
  await cluster.settled();
  const { spec } = serverPolicy();
  for (const collection of POLICY_COLLECTIONS) {
    for (const object of await api.list(collection)) {
      const { name } = object['metadata'] as { readonly name: string };
      if (collection !== POLICIES || name !== 'server') await api.delete(`${collection}/${name}`);
    }
  }
  const kept = (await api.list(POLICIES))[0];
  if (kept === undefined) await api.create(POLICIES, serverPolicy());
  else if (!isDeepStrictEqual(kept['spec'], spec)) await api.merge(`${POLICIES}/server`, { spec });
  await waitFor('the policy to be enforced', async () => {
    const ask = { op: 'tcp', host: server.ipv4, port: PORT, timeoutMs: SILENCE_MS } as const;
    const answers = await Promise.all([clients[1], ...strangers].map(({ actor }) => actor.do(ask)));
    return answers.join() === 'ok,timeout,timeout';
  });
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
