/** Which API groups and versions of each kind the agent understands, and what the kinds have in common. */
import type { ResourceKind } from '../model/resource.ts';

interface Kind {
  /** API group; empty for the core group. */
  readonly group: string;
  readonly versions: readonly string[];
  readonly namespaced: boolean;
  /** Kubernetes limits the names of some kinds to one DNS label. */
  readonly nameForm: 'label' | 'subdomain';
}

/** The kinds of `RESOURCE_KINDS` as API servers serve them. */
export const KINDS: Readonly<Record<ResourceKind, Kind>> = {
  Namespace: { group: '', versions: ['v1'], namespaced: false, nameForm: 'label' },
  Node: { group: '', versions: ['v1'], namespaced: false, nameForm: 'subdomain' },
  Pod: { group: '', versions: ['v1'], namespaced: true, nameForm: 'subdomain' },
  Service: { group: '', versions: ['v1'], namespaced: true, nameForm: 'label' },
  EndpointSlice: { group: 'discovery.k8s.io', versions: ['v1'], namespaced: true, nameForm: 'subdomain' },
  NetworkPolicy: { group: 'networking.k8s.io', versions: ['v1'], namespaced: true, nameForm: 'subdomain' },
  ClusterNetworkPolicy: {
    group: 'policy.networking.k8s.io',
    versions: ['v1alpha2'],
    namespaced: false,
    nameForm: 'subdomain',
  },
  CiliumNetworkPolicy: { group: 'cilium.io', versions: ['v2'], namespaced: true, nameForm: 'subdomain' },
  CiliumClusterwideNetworkPolicy: { group: 'cilium.io', versions: ['v2'], namespaced: false, nameForm: 'subdomain' },
  CiliumCIDRGroup: { group: 'cilium.io', versions: ['v2', 'v2alpha1'], namespaced: false, nameForm: 'subdomain' },
};

/** Splits `group/version` (or `version`, of the core group). */
export function parseApiVersion(apiVersion: string): { readonly group: string; readonly version: string } {
  const slash = apiVersion.lastIndexOf('/');
  return slash < 0
    ? { group: '', version: apiVersion }
    : { group: apiVersion.slice(0, slash), version: apiVersion.slice(slash + 1) };
}

/** `group/version` of a kind's preferred version. */
export function preferredApiVersion(kind: ResourceKind): string {
  const { group, versions } = KINDS[kind];
  return group === '' ? versions[0]! : `${group}/${versions[0]!}`;
}
