/** What manifests say about a cluster: pods with the labels of their identity, services, groups of prefixes. Pure. */
import { LabelFilter } from '../../agent/identity/label-filter.ts';
import { podLabels } from '../../agent/identity/pod-labels.ts';
import { decodeCidrGroup } from '../../agent/k8s/cidr-group.ts';
import { decodeEndpointSlice } from '../../agent/k8s/endpoint-slice.ts';
import { decodeNamespace, namespaceLabels } from '../../agent/k8s/namespace.ts';
import { decodePod, type Pod } from '../../agent/k8s/pod.ts';
import { policyCidrGroup, policyService } from '../../agent/k8s/policy-view.ts';
import { decodeService } from '../../agent/k8s/service.ts';
import { canonicalLabels, type Label } from '../../agent/model/labels.ts';
import type { Resource, ResourceKind } from '../../agent/model/resource.ts';
import type { CidrGroup, PolicyService } from '../../agent/policy/contract.ts';

/** A pod and what makes its identity (S3, S4). */
export interface LabelledPod {
  readonly pod: Pod;
  /** Canonical. */
  readonly labels: readonly Label[];
}

export interface Inventory {
  readonly pods: readonly LabelledPod[];
  readonly services: readonly PolicyService[];
  readonly cidrGroups: readonly CidrGroup[];
}

/** @throws WeirError RESOURCE_INVALID naming object and field. */
export function takeInventory(resources: readonly Resource[], clusterName: string): Inventory {
  const of = <T>(kind: ResourceKind, decode: (resource: Resource) => T): T[] =>
    resources.filter((resource) => resource.kind === kind).map(decode);
  const namespaces = new Map(of('Namespace', decodeNamespace).map(({ name, labels }) => [name, labels]));
  const filter = new LabelFilter();
  const pods = of('Pod', decodePod).map((pod) => {
    const facts = {
      namespace: pod.namespace,
      labels: Object.fromEntries(pod.labels),
      namespaceLabels: Object.fromEntries(namespaces.get(pod.namespace) ?? namespaceLabels(pod.namespace)),
      serviceAccount: pod.serviceAccountName,
    };
    return { pod, labels: canonicalLabels(filter.split(podLabels(facts, clusterName)).identity) };
  });
  const slices = of('EndpointSlice', decodeEndpointSlice).filter((slice) => slice !== undefined);
  return {
    pods,
    services: of('Service', decodeService).map((service) => policyService(service, slices)),
    cidrGroups: of('CiliumCIDRGroup', decodeCidrGroup).map(policyCidrGroup),
  };
}
