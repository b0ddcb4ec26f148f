/** Which groups, versions and resources there are: `/api`, `/apis` and below, plain and aggregated. */
import type { Json } from './object.ts';
import type { Registry, ResourceType } from './resource-type.ts';

export const SERVER_VERSION = {
  major: '1',
  minor: '34',
  gitVersion: 'v1.34.0',
  gitCommit: '0000000000000000000000000000000000000000',
  gitTreeState: 'clean',
  buildDate: '1970-01-01T00:00:00Z',
  goVersion: 'go1.24.6',
  compiler: 'gc',
  platform: 'linux/amd64',
};

/** The document of a discovery path, or undefined when the path is none. */
export function discovery(registry: Registry, path: string, accept: string, address: string): Json | undefined {
  const aggregated = accept.includes('as=APIGroupDiscoveryList');
  const parts = path.split('/').filter((part) => part !== '');
  if (path === '/api' && aggregated) return aggregatedList(registry, (group) => group === '');
  if (path === '/apis' && aggregated) return aggregatedList(registry, (group) => group !== '');
  if (path === '/api')
    return {
      kind: 'APIVersions',
      versions: ['v1'],
      serverAddressByClientCIDRs: [{ clientCIDR: '0.0.0.0/0', serverAddress: address }],
    };
  if (path === '/apis')
    return {
      kind: 'APIGroupList',
      apiVersion: 'v1',
      groups: [...registry.groups()].filter(([group]) => group !== '').map(groupDocument),
    };
  if (parts[0] === 'api' && parts.length === 2) return resources(registry, '', parts[1]!);
  if (parts[0] !== 'apis') return undefined;
  if (parts.length === 2) {
    const versions = registry.groups().get(parts[1]!);
    return versions === undefined
      ? undefined
      : { kind: 'APIGroup', apiVersion: 'v1', ...groupDocument([parts[1]!, versions]) };
  }
  return parts.length === 3 ? resources(registry, parts[1]!, parts[2]!) : undefined;
}

function groupDocument([name, versions]: [string, readonly string[]]): Json {
  const all = versions.map((version) => ({ groupVersion: `${name}/${version}`, version }));
  return { name, versions: all, preferredVersion: all[0] };
}

const typesOf = (registry: Registry, group: string, version: string): ResourceType[] =>
  registry.all().filter((type) => type.group === group && type.version === version);

function resources(registry: Registry, group: string, version: string): Json | undefined {
  const types = typesOf(registry, group, version);
  if (types.length === 0) return undefined;
  return {
    kind: 'APIResourceList',
    apiVersion: 'v1',
    groupVersion: group === '' ? version : `${group}/${version}`,
    resources: types.flatMap((type) => [
      {
        name: type.plural,
        singularName: type.singular,
        namespaced: type.namespaced,
        kind: type.kind,
        verbs: type.verbs,
        ...(type.shortNames.length > 0 && { shortNames: type.shortNames }),
        ...(type.categories.length > 0 && { categories: type.categories }),
      },
      ...subresources(type).map(({ name, kind, verbs, group: g, version: v }) => ({
        name: `${type.plural}/${name}`,
        singularName: '',
        namespaced: type.namespaced,
        ...(g !== undefined && { group: g, version: v }),
        kind,
        verbs,
      })),
    ]),
  };
}

interface Subresource {
  readonly name: string;
  readonly kind: string;
  readonly verbs: readonly string[];
  readonly group?: string;
  readonly version?: string;
}

export function subresources(type: ResourceType): Subresource[] {
  const { status, scale, others } = type.subresources;
  return [
    ...(status ? [{ name: 'status', kind: type.kind, verbs: ['get', 'patch', 'update'] }] : []),
    ...(scale === undefined
      ? []
      : [{ name: 'scale', kind: 'Scale', group: 'autoscaling', version: 'v1', verbs: ['get', 'patch', 'update'] }]),
    ...Object.entries(others ?? {}).map(([name, other]) => ({ name, ...other })),
  ];
}

function aggregatedList(registry: Registry, wanted: (group: string) => boolean): Json {
  const items = [...registry.groups()]
    .filter(([group]) => wanted(group))
    .map(([group, versions]) => ({
      metadata: { ...(group !== '' && { name: group }), creationTimestamp: null },
      versions: versions.map((version) => ({
        version,
        resources: typesOf(registry, group, version).map((type) => ({
          resource: type.plural,
          responseKind: { group: '', version: '', kind: type.kind },
          scope: type.namespaced ? 'Namespaced' : 'Cluster',
          singularResource: type.singular,
          verbs: type.verbs,
          ...(type.shortNames.length > 0 && { shortNames: type.shortNames }),
          ...(type.categories.length > 0 && { categories: type.categories }),
          subresources: subresources(type).map(({ name, kind, verbs, group: g, version: v }) => ({
            subresource: name,
            responseKind: { group: g ?? '', version: v ?? '', kind },
            verbs,
          })),
        })),
        freshness: 'Current',
      })),
    }));
  return { kind: 'APIGroupDiscoveryList', apiVersion: 'apidiscovery.k8s.io/v2', metadata: {}, items };
}
