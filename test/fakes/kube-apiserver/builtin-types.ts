/** The built-in kinds that are served. */
import { builtinColumns } from './columns.ts';
import { eventFromCore, eventToCore } from './event-versions.ts';
import type { ResourceType, Subresources } from './resource-type.ts';
import { modelSchema } from './schema/models.ts';

export const VERBS = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'] as const;

interface Builtin {
  readonly plural: string;
  readonly kind: string;
  /** Model of the client; `V1<kind>` when absent. */
  readonly model?: string;
  readonly short?: readonly string[];
  readonly categories?: readonly string[];
  readonly cluster?: true;
  readonly status?: true;
  readonly others?: Subresources['others'];
  readonly scale?: true;
  readonly selectable?: readonly string[];
  readonly generation?: true;
  readonly conditionalUpdate?: true;
  readonly createOnUpdate?: true;
  readonly answersDeleted?: true;
  readonly verbs?: readonly string[];
}

const ALL = { categories: ['all'] } as const;
const SCALED = { ...ALL, status: true, scale: true, generation: true } as const;
const CREATE_ONLY = { cluster: true, verbs: ['create'] } as const;

const CORE: readonly Builtin[] = [
  {
    plural: 'pods',
    kind: 'Pod',
    short: ['po'],
    ...ALL,
    status: true,
    generation: true,
    answersDeleted: true,
    selectable: [
      'spec.nodeName',
      'spec.restartPolicy',
      'spec.schedulerName',
      'spec.serviceAccountName',
      'spec.hostNetwork',
      'status.phase',
      'status.podIP',
      'status.nominatedNodeName',
    ],
    others: {
      binding: { kind: 'Binding', verbs: ['create'] },
      eviction: { kind: 'Eviction', verbs: ['create'], group: 'policy', version: 'v1' },
    },
  },
  {
    plural: 'services',
    kind: 'Service',
    short: ['svc'],
    ...ALL,
    status: true,
    answersDeleted: true,
    selectable: ['spec.clusterIP', 'spec.type'],
  },
  { plural: 'nodes', kind: 'Node', short: ['no'], cluster: true, status: true, selectable: ['spec.unschedulable'] },
  {
    plural: 'namespaces',
    kind: 'Namespace',
    short: ['ns'],
    cluster: true,
    status: true,
    answersDeleted: true,
    selectable: ['status.phase'],
    others: { finalize: { kind: 'Namespace', verbs: ['update'] } },
    verbs: VERBS.filter((verb) => verb !== 'deletecollection'),
  },
  { plural: 'configmaps', kind: 'ConfigMap', short: ['cm'] },
  { plural: 'secrets', kind: 'Secret', selectable: ['type'] },
  {
    plural: 'serviceaccounts',
    kind: 'ServiceAccount',
    short: ['sa'],
    answersDeleted: true,
    others: { token: { kind: 'TokenRequest', verbs: ['create'], group: 'authentication.k8s.io', version: 'v1' } },
  },
  { plural: 'endpoints', kind: 'Endpoints', short: ['ep'], createOnUpdate: true },
  {
    plural: 'events',
    kind: 'Event',
    model: 'CoreV1Event',
    short: ['ev'],
    createOnUpdate: true,
    selectable: [
      'involvedObject.kind',
      'involvedObject.namespace',
      'involvedObject.name',
      'involvedObject.uid',
      'involvedObject.apiVersion',
      'involvedObject.resourceVersion',
      'involvedObject.fieldPath',
      'reason',
      'reportingComponent',
      'source',
      'type',
    ],
  },
  { plural: 'resourcequotas', kind: 'ResourceQuota', short: ['quota'], status: true },
  { plural: 'limitranges', kind: 'LimitRange', short: ['limits'], createOnUpdate: true },
];

const GROUPS: Readonly<Record<string, readonly Builtin[]>> = {
  '/v1': CORE,
  'apps/v1': [
    { plural: 'deployments', kind: 'Deployment', short: ['deploy'], ...SCALED },
    { plural: 'daemonsets', kind: 'DaemonSet', short: ['ds'], ...ALL, status: true, generation: true },
    { plural: 'replicasets', kind: 'ReplicaSet', short: ['rs'], ...SCALED },
    { plural: 'statefulsets', kind: 'StatefulSet', short: ['sts'], ...SCALED },
  ],
  'events.k8s.io/v1': [
    {
      plural: 'events',
      kind: 'Event',
      model: 'EventsV1Event',
      short: ['ev'],
      createOnUpdate: true,
      selectable: [
        'reason',
        'reportingController',
        'regarding.kind',
        'regarding.namespace',
        'regarding.name',
        'regarding.uid',
        'type',
      ],
    },
  ],
  'discovery.k8s.io/v1': [{ plural: 'endpointslices', kind: 'EndpointSlice', generation: true }],
  'networking.k8s.io/v1': [{ plural: 'networkpolicies', kind: 'NetworkPolicy', short: ['netpol'], generation: true }],
  'coordination.k8s.io/v1': [{ plural: 'leases', kind: 'Lease', conditionalUpdate: true, createOnUpdate: true }],
  'rbac.authorization.k8s.io/v1': [
    { plural: 'roles', kind: 'Role' },
    { plural: 'rolebindings', kind: 'RoleBinding' },
    { plural: 'clusterroles', kind: 'ClusterRole', cluster: true },
    { plural: 'clusterrolebindings', kind: 'ClusterRoleBinding', cluster: true },
  ],
  'apiextensions.k8s.io/v1': [
    {
      plural: 'customresourcedefinitions',
      kind: 'CustomResourceDefinition',
      short: ['crd', 'crds'],
      categories: ['api-extensions'],
      cluster: true,
      status: true,
      generation: true,
      conditionalUpdate: true,
    },
  ],
  'authorization.k8s.io/v1': [
    { plural: 'selfsubjectaccessreviews', kind: 'SelfSubjectAccessReview', ...CREATE_ONLY },
    { plural: 'subjectaccessreviews', kind: 'SubjectAccessReview', ...CREATE_ONLY },
    { plural: 'selfsubjectrulesreviews', kind: 'SelfSubjectRulesReview', ...CREATE_ONLY },
  ],
  'authentication.k8s.io/v1': [
    { plural: 'tokenreviews', kind: 'TokenReview', ...CREATE_ONLY },
    { plural: 'selfsubjectreviews', kind: 'SelfSubjectReview', ...CREATE_ONLY },
  ],
};

export function builtinTypes(): ResourceType[] {
  return Object.entries(GROUPS).flatMap(([groupVersion, kinds]) => {
    const [group, version] = groupVersion.split('/') as [string, string];
    return kinds.map((kind) => asType(group, version, kind));
  });
}

function asType(group: string, version: string, builtin: Builtin): ResourceType {
  const { plural, kind } = builtin;
  const scale = { spec: ['spec', 'replicas'], status: ['status', 'replicas'], selector: ['spec', 'selector'] };
  return {
    group,
    version,
    kind,
    plural,
    singular: kind.toLowerCase(),
    listKind: `${kind}List`,
    shortNames: builtin.short ?? [],
    categories: builtin.categories ?? [],
    namespaced: builtin.cluster !== true,
    verbs: builtin.verbs ?? VERBS,
    subresources: {
      status: builtin.status === true,
      ...(builtin.scale && { scale }),
      ...(builtin.others && { others: builtin.others }),
    },
    schema: () => modelSchema(builtin.model ?? `V1${kind}`),
    columns: builtinColumns(group, plural),
    selectable: builtin.selectable ?? [],
    custom: false,
    generation: builtin.generation === true,
    unconditionalUpdate: builtin.conditionalUpdate !== true,
    createOnUpdate: builtin.createOnUpdate === true,
    answersDeleted: builtin.answersDeleted === true,
    ...(group === 'events.k8s.io' && { stored: { from: eventFromCore, to: eventToCore } }),
  };
}
