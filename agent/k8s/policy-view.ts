/** Services and CIDR groups in the words of the policy engine. Pure. */
import { LABEL } from '../model/labels.ts';
import type { CidrGroup as PolicyCidrGroup, PolicyService } from '../policy/contract.ts';
import type { CidrGroup } from './cidr-group.ts';
import type { EndpointSlice } from './endpoint-slice.ts';
import type { Service } from './service.ts';

export function policyCidrGroup({ name, labels, cidrs }: CidrGroup): PolicyCidrGroup {
  return { name, labels: Array.from(labels, ([key, value]) => ({ source: 'cidrgroup', key, value })), cidrs };
}

/** @param slices may hold those of other services too */
export function policyService(service: Service, slices: Iterable<EndpointSlice>): PolicyService {
  const { namespace, name } = service;
  const own = [...slices].filter((slice) => slice.namespace === namespace && slice.service === name);
  const selector = service.selector === undefined ? undefined : podSelector(namespace, service.selector);
  return {
    namespace,
    name,
    labels: Array.from(service.labels, ([key, value]) => ({ source: 'k8s', key, value })),
    ...(selector === undefined ? {} : { selector }),
    backends: own.flatMap(({ endpoints }) => endpoints.flatMap(({ addresses }) => addresses)),
  };
}

function podSelector(namespace: string, labels: ReadonlyMap<string, string>) {
  const wanted = [...labels, [LABEL.podNamespace, namespace] as const];
  const requirements = wanted.map(([key, value]) => ({ key: `k8s:${key}`, operator: 'In' as const, values: [value] }));
  return { requirements: requirements.sort((a, b) => (a.key < b.key ? -1 : 1)) };
}
