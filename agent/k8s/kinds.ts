/** Which API groups and versions of each kind the agent understands, and what the kinds have in common. */
import type { ResourceKind } from '../model/resource.ts';

interface Kind {
  /** API group; empty for the core group. */
  readonly group: string;
  /** The preferred one first. */
  readonly versions: readonly string[];
  /** Name of the collection in the API's paths. */
  readonly plural: string;
  readonly namespaced: boolean;
  /** Kubernetes limits the names of some kinds to one DNS label. */
  readonly nameForm: 'label' | 'subdomain';
}

const core = (plural: string, namespaced: boolean, nameForm: Kind['nameForm']): Kind => ({
  ...{ group: '', versions: ['v1'], plural, namespaced, nameForm },
});

const cilium = (plural: string, namespaced: boolean, versions: readonly string[] = ['v2']): Kind => ({
  ...{ group: 'cilium.io', versions, plural, namespaced, nameForm: 'subdomain' },
});

/** The kinds of `RESOURCE_KINDS` as API servers serve them. */
export const KINDS: Readonly<Record<ResourceKind, Kind>> = {
  Namespace: core('namespaces', false, 'label'),
  Node: core('nodes', false, 'subdomain'),
  Pod: core('pods', true, 'subdomain'),
  Service: core('services', true, 'label'),
  EndpointSlice: {
    group: 'discovery.k8s.io',
    versions: ['v1'],
    plural: 'endpointslices',
    namespaced: true,
    nameForm: 'subdomain',
  },
  NetworkPolicy: {
    group: 'networking.k8s.io',
    versions: ['v1'],
    plural: 'networkpolicies',
    namespaced: true,
    nameForm: 'subdomain',
  },
  ClusterNetworkPolicy: {
    group: 'policy.networking.k8s.io',
    versions: ['v1alpha2'],
    plural: 'clusternetworkpolicies',
    namespaced: false,
    nameForm: 'subdomain',
  },
  CiliumNetworkPolicy: cilium('ciliumnetworkpolicies', true),
  CiliumClusterwideNetworkPolicy: cilium('ciliumclusterwidenetworkpolicies', false),
  CiliumCIDRGroup: cilium('ciliumcidrgroups', false, ['v2', 'v2alpha1']),
  CiliumNode: cilium('ciliumnodes', false),
  CiliumIdentity: cilium('ciliumidentities', false),
  CiliumEndpoint: cilium('ciliumendpoints', true),
  CiliumEndpointSlice: cilium('ciliumendpointslices', false, ['v2alpha1']),
};

/** Path of a collection: of one namespace, or of all when `namespace` is empty. */
export function collectionPath(kind: ResourceKind, apiVersion: string, namespace = ''): string {
  const { plural, group } = KINDS[kind];
  const root = group === '' ? `/api/${apiVersion}` : `/apis/${apiVersion}`;
  return `${root}${namespace === '' ? '' : `/namespaces/${namespace}`}/${plural}`;
}

/** Splits `group/version` (or `version`, of the core group). */
export function parseApiVersion(apiVersion: string): { readonly group: string; readonly version: string } {
  const slash = apiVersion.lastIndexOf('/');
  return slash < 0
    ? { group: '', version: apiVersion }
    : { group: apiVersion.slice(0, slash), version: apiVersion.slice(slash + 1) };
}

/** `group/version` of a kind's preferred version. */
export function preferredApiVersion(kind: ResourceKind): string {
  return apiVersions(kind)[0]!;
}

/** `group/version` of every version of a kind that the agent understands, the preferred one first. */
export function apiVersions(kind: ResourceKind): readonly string[] {
  const { group, versions } = KINDS[kind];
  return versions.map((version) => (group === '' ? version : `${group}/${version}`));
}
