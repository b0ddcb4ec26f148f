/** How lists of the built-in kinds are merged, by model and field: facts of the Kubernetes API reference. */
import type { Schema } from './schema.ts';

/** `Model.field` → keys; the first is the merge key of strategic merge patches, all are those of server-side apply. */
const MAPS: Readonly<Record<string, readonly string[]>> = {
  'V1ObjectMeta.ownerReferences': ['uid'],
  'V1PodSpec.containers': ['name'],
  'V1PodSpec.initContainers': ['name'],
  'V1PodSpec.ephemeralContainers': ['name'],
  'V1PodSpec.volumes': ['name'],
  'V1PodSpec.imagePullSecrets': ['name'],
  'V1PodSpec.hostAliases': ['ip'],
  'V1PodSpec.topologySpreadConstraints': ['topologyKey', 'whenUnsatisfiable'],
  'V1Container.ports': ['containerPort', 'protocol'],
  'V1Container.env': ['name'],
  'V1Container.volumeMounts': ['mountPath'],
  'V1Container.volumeDevices': ['devicePath'],
  'V1PodStatus.conditions': ['type'],
  'V1PodStatus.podIPs': ['ip'],
  'V1NodeStatus.conditions': ['type'],
  'V1NodeStatus.addresses': ['type'],
  'V1ServiceSpec.ports': ['port', 'protocol'],
  'V1ServiceStatus.conditions': ['type'],
  'V1NamespaceStatus.conditions': ['type'],
  'V1ServiceAccount.secrets': ['name'],
  'V1DeploymentStatus.conditions': ['type'],
  'V1DaemonSetStatus.conditions': ['type'],
  'V1CustomResourceDefinitionStatus.conditions': ['type'],
};

const SETS: ReadonlySet<string> = new Set(['V1ObjectMeta.finalizers', 'V1NodeSpec.podCIDRs']);

/** Structures that are replaced whole: selectors, and references. */
const ATOMIC: ReadonlySet<string> = new Set([
  'V1LabelSelector.matchExpressions',
  'V1ServiceSpec.selector',
  'V1NodeSpec.taints',
  'V1EndpointSlice.endpoints',
  'V1EndpointSlice.ports',
]);

export function mergeKeysOf(model: string, field: string): Partial<Schema> {
  const name = `${model}.${field}`;
  const keys = MAPS[name];
  if (keys !== undefined) {
    return {
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': keys,
      'x-kubernetes-patch-strategy': field === 'volumes' ? 'merge,retainKeys' : 'merge',
      'x-kubernetes-patch-merge-key': keys[0]!,
    };
  }
  if (SETS.has(name)) return { 'x-kubernetes-list-type': 'set', 'x-kubernetes-patch-strategy': 'merge' };
  if (name === 'V1ServiceSpec.selector') return { 'x-kubernetes-map-type': 'atomic' };
  return ATOMIC.has(name) ? { 'x-kubernetes-list-type': 'atomic' } : {};
}
