/** What is there before anyone asks: namespaces, and the roles that every cluster has. */
import type { Json } from './object.ts';
import type { Registry } from './resource-type.ts';
import type { Rest } from './rest.ts';
import type { Store } from './store.ts';

const RBAC = { apiVersion: 'rbac.authorization.k8s.io/v1' } as const;

const DISCOVERY = [
  '/api',
  '/api/*',
  '/apis',
  '/apis/*',
  '/healthz',
  '/livez',
  '/openapi',
  '/openapi/*',
  '/readyz',
  '/version',
  '/version/',
];

const ROLES: readonly Json[] = [
  {
    ...RBAC,
    kind: 'ClusterRole',
    metadata: { name: 'cluster-admin' },
    rules: [
      { apiGroups: ['*'], resources: ['*'], verbs: ['*'] },
      { nonResourceURLs: ['*'], verbs: ['*'] },
    ],
  },
  {
    ...RBAC,
    kind: 'ClusterRole',
    metadata: { name: 'system:discovery' },
    rules: [{ nonResourceURLs: DISCOVERY, verbs: ['get'] }],
  },
  {
    ...RBAC,
    kind: 'ClusterRole',
    metadata: { name: 'system:public-info-viewer' },
    rules: [{ nonResourceURLs: ['/healthz', '/livez', '/readyz', '/version', '/version/'], verbs: ['get'] }],
  },
  {
    ...RBAC,
    kind: 'ClusterRole',
    metadata: { name: 'system:basic-user' },
    rules: [
      {
        apiGroups: ['authorization.k8s.io'],
        resources: ['selfsubjectaccessreviews', 'selfsubjectrulesreviews'],
        verbs: ['create'],
      },
      { apiGroups: ['authentication.k8s.io'], resources: ['selfsubjectreviews'], verbs: ['create'] },
    ],
  },
];

const group = (name: string): Json => ({ kind: 'Group', apiGroup: 'rbac.authorization.k8s.io', name });

const binding = (name: string, ...groups: string[]): Json => ({
  ...RBAC,
  kind: 'ClusterRoleBinding',
  metadata: { name },
  roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name },
  subjects: groups.map(group),
});

export function bootstrap(store: Store, registry: Registry, rest: Rest): void {
  const options = {
    dryRun: false,
    fieldManager: 'kube-apiserver',
    fieldValidation: 'Strict',
    subresource: '',
    warnings: [],
  } as const;
  const create = (path: string, object: Json, namespace = ''): void => {
    const [g, version, plural] = path.split('/') as [string, string, string];
    rest.create(registry.find(g, version, plural)!, namespace, object, { ...options, warnings: [] });
  };
  if (store.collection('/namespaces').get('default') !== undefined) return;
  for (const name of ['default', 'kube-system', 'kube-public', 'kube-node-lease'])
    create('/v1/namespaces', { metadata: { name } });
  for (const role of ROLES) create('rbac.authorization.k8s.io/v1/clusterroles', role);
  for (const it of [
    binding('cluster-admin', 'system:masters'),
    binding('system:discovery', 'system:authenticated'),
    binding('system:basic-user', 'system:authenticated'),
    binding('system:public-info-viewer', 'system:authenticated', 'system:unauthenticated'),
  ])
    create('rbac.authorization.k8s.io/v1/clusterrolebindings', it);
  const ports = [{ name: 'https', port: 443, targetPort: 6443, protocol: 'TCP' }];
  create(
    '/v1/services',
    {
      metadata: { name: 'kubernetes', labels: { component: 'apiserver', provider: 'kubernetes' } },
      spec: { clusterIP: '10.96.0.1', ports },
    },
    'default',
  );
}
