/** How Weir stands in a whole cluster, from what agents and the operator have written to the API server. */
import type { ApiServer, JsonObject } from '../../agent/k8s/apiserver/client.ts';
import { getObject, listAll, metaOf, recordOf, recordsOf, textOf } from '../../agent/k8s/apiserver/objects.ts';

export interface ClusterState {
  readonly nodes: {
    readonly total: number;
    /** Nodes that no agent has announced. */
    readonly withoutAgent: readonly string[];
    /** Nodes that the operator gave no pod CIDRs, and why. */
    readonly withoutAddresses: readonly { readonly node: string; readonly error: string }[];
  };
  readonly operator: {
    /** Who leads; undefined when nobody does. */
    readonly leader: string | undefined;
    /** Whether the leader has renewed its lease in time. */
    readonly alive: boolean;
    /** How the key-value store stands with it; undefined where there is none. */
    readonly kvstore: string | undefined;
  };
  readonly pods: {
    /** Pods that run on a node and not in its network. */
    readonly total: number;
    /** `namespace/name` of those that are no endpoints. */
    readonly unmanaged: readonly string[];
  };
  readonly endpoints: {
    readonly total: number;
    readonly notReady: readonly { readonly endpoint: string; readonly state: string }[];
  };
  readonly identities: number;
  readonly policies: {
    readonly total: number;
    readonly invalid: readonly { readonly policy: string; readonly message: string }[];
  };
}

const CILIUM = '/apis/cilium.io/v2';

/**
 * @param namespace where the operator keeps its lease
 * @param now milliseconds since the epoch
 * @throws WeirError KUBERNETES_UNREACHABLE, KUBERNETES_REFUSED
 */
export async function readCluster(server: ApiServer, namespace: string, now: number): Promise<ClusterState> {
  const ciliumNodes = await everything(server, `${CILIUM}/ciliumnodes`);
  const nodes = await everything(server, '/api/v1/nodes');
  const endpoints = await everything(server, `${CILIUM}/ciliumendpoints`);
  const pods = (await everything(server, '/api/v1/pods')).filter(wantsNetwork);
  const identities = await everything(server, `${CILIUM}/ciliumidentities`);
  const announced = new Set(ciliumNodes.map((node) => metaOf(node).name));
  const managed = new Set(endpoints.map(nameOf));
  return {
    nodes: {
      total: nodes.length,
      withoutAgent: nodes.map((node) => metaOf(node).name).filter((name) => !announced.has(name)),
      withoutAddresses: ciliumNodes.flatMap((node) => {
        const error = textOf(recordOf(recordOf(recordOf(node['status'])['ipam'])['operator-status'])['error']);
        return error === '' ? [] : [{ node: metaOf(node).name, error }];
      }),
    },
    operator: await operatorOf(server, namespace, now),
    pods: { total: pods.length, unmanaged: pods.map(nameOf).filter((pod) => !managed.has(pod)) },
    endpoints: {
      total: endpoints.length,
      notReady: endpoints
        .map((endpoint) => ({ endpoint: nameOf(endpoint), state: textOf(recordOf(endpoint['status'])['state']) }))
        .filter(({ state }) => state !== 'ready'),
    },
    identities: identities.length,
    policies: await policiesOf(server),
  };
}

async function everything(server: ApiServer, path: string): Promise<JsonObject[]> {
  return await Array.fromAsync(listAll(server, path));
}

function nameOf(object: JsonObject): string {
  const { namespace, name } = metaOf(object);
  return namespace === '' ? name : `${namespace}/${name}`;
}

function wantsNetwork(pod: JsonObject): boolean {
  const spec = recordOf(pod['spec']);
  const phase = textOf(recordOf(pod['status'])['phase']);
  return spec['hostNetwork'] !== true && textOf(spec['nodeName']) !== '' && phase === 'Running';
}

async function operatorOf(server: ApiServer, namespace: string, now: number): Promise<ClusterState['operator']> {
  const lease = await getObject(server, `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases/weir-operator`);
  const spec = recordOf(lease?.['spec']);
  const leader = textOf(spec['holderIdentity']);
  const seconds = typeof spec['leaseDurationSeconds'] === 'number' ? spec['leaseDurationSeconds'] : 0;
  // Clocks differ: a lease counts as abandoned when it is late by as long as it lasts.
  const alive = now - Date.parse(textOf(spec['renewTime'])) < 2 * seconds * 1000;
  const kvstore = textOf(recordOf(recordOf(lease?.['metadata'])['annotations'])['weir.io/kvstore']);
  return {
    leader: leader === '' ? undefined : leader,
    alive: leader !== '' && alive,
    kvstore: kvstore === '' ? undefined : kvstore,
  };
}

async function policiesOf(server: ApiServer): Promise<ClusterState['policies']> {
  const policies: JsonObject[] = [];
  for (const plural of ['ciliumnetworkpolicies', 'ciliumclusterwidenetworkpolicies'])
    policies.push(...(await everything(server, `${CILIUM}/${plural}`)));
  const invalid = policies.flatMap((policy) => {
    const conditions = recordsOf(recordOf(policy['status'])['conditions']);
    const valid = conditions.find(({ type }) => type === 'Valid');
    if (valid?.['status'] === 'True') return [];
    return [{ policy: nameOf(policy), message: valid === undefined ? 'not judged yet' : textOf(valid['message']) }];
  });
  return { total: policies.length, invalid };
}

/** What is not well, one line each; none when all is. */
export function clusterFaults({ nodes, operator, pods, endpoints, policies }: ClusterState): string[] {
  return [
    ...(operator.leader === undefined ? ['operator: none leads'] : []),
    ...(operator.leader !== undefined && !operator.alive ? [`operator: ${operator.leader} has fallen silent`] : []),
    ...(operator.kvstore === undefined || operator.kvstore.endsWith(': ok') ? [] : [`kvstore: ${operator.kvstore}`]),
    ...nodes.withoutAgent.map((node) => `node ${node}: no agent has announced it`),
    ...nodes.withoutAddresses.map(({ node, error }) => `node ${node}: ${error}`),
    ...pods.unmanaged.map((pod) => `pod ${pod}: is not managed; was it there before Weir? Start it anew`),
    ...endpoints.notReady.map(
      ({ endpoint, state }) => `endpoint ${endpoint}: ${state === '' ? 'has no state' : state}`,
    ),
    ...policies.invalid.map(({ policy, message }) => `policy ${policy}: ${message}`),
  ];
}
