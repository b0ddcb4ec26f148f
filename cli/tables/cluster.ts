import type { Row } from '../output/table.ts';
import type { ClusterState } from '../cluster/cluster-state.ts';

/** What there is, and how much of it is well. */
export function clusterRows({ nodes, operator, pods, endpoints, identities, policies }: ClusterState): Row[] {
  const share = (total: number, bad: number): string => `${total - bad}/${total}`;
  return [
    ['Operator:', operator.leader === undefined ? 'none leads' : `${operator.leader} leads`],
    ...(operator.kvstore === undefined ? [] : [['KVStore:', operator.kvstore]]),
    ['Agents:', `${share(nodes.total, nodes.withoutAgent.length)} nodes`],
    ['Pods:', `${share(pods.total, pods.unmanaged.length)} managed`],
    ['Endpoints:', `${share(endpoints.total, endpoints.notReady.length)} ready`],
    ['Identities:', operator.kvstore === undefined ? String(identities) : 'in the key-value store'],
    ['Policies:', `${share(policies.total, policies.invalid.length)} valid`],
  ];
}
