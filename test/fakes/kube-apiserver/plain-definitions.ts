/** Definitions of Cilium's kinds without schemas: for tests of clients, which must not lean on what a schema refuses. */
import { KINDS } from '../../../agent/k8s/kinds.ts';
import type { ResourceKind } from '../../../agent/model/resource.ts';
import type { Json } from './object.ts';

/** CustomResourceDefinitions of every kind of the agent that is none of Kubernetes' own. */
export function plainDefinitions(): Json[] {
  return Object.entries(KINDS)
    .filter(([, { group }]) => group === 'cilium.io' || group === 'policy.networking.k8s.io')
    .map(([kind]) => plainDefinition(kind as ResourceKind));
}

export function plainDefinition(kind: ResourceKind): Json {
  const { group, plural, versions, namespaced } = KINDS[kind];
  const schema = { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } };
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.${group}` },
    spec: {
      group,
      names: { kind, plural, singular: kind.toLowerCase(), listKind: `${kind}List` },
      scope: namespaced ? 'Namespaced' : 'Cluster',
      versions: versions.map((name, i) => ({ name, served: true, storage: i === 0, schema })),
    },
  };
}
