/** Printer columns of the built-in kinds, as `kubectl get` shows them. */
import { ageOf } from './human-duration.ts';
import { isObject, listAt, textAt, valueAt, type KubeObject } from './object.ts';
import type { Column } from './resource-type.ts';

type Cell = Column['cell'];

const column = (name: string, cell: Cell, more: Partial<Column> = {}): Column => ({
  name,
  type: 'string',
  priority: 0,
  cell,
  ...more,
});
const wide = (name: string, cell: Cell): Column => column(name, cell, { priority: 1 });
const at =
  (...path: string[]): Cell =>
  (object) =>
    textAt(object, ...path);
const orNone =
  (cell: Cell): Cell =>
  (object) => {
    const value = cell(object);
    return value === '' || value === undefined ? '<none>' : value;
  };

const NAME = column('Name', (object) => object.metadata.name, { format: 'name' });
const AGE = column('Age', (object) => ageOf(object.metadata.creationTimestamp));

export const PLAIN_COLUMNS: readonly Column[] = [
  NAME,
  column('Created At', (object) => object.metadata.creationTimestamp, { type: 'date' }),
];

const selectorText = (labels: unknown): string =>
  isObject(labels)
    ? Object.entries(labels)
        .map(([key, value]) => `${key}=${String(value)}`)
        .sort()
        .join(',')
    : '';

function podStatus(pod: KubeObject): string {
  if (pod.metadata.deletionTimestamp !== undefined) return 'Terminating';
  const waiting = listAt(pod, 'status', 'containerStatuses')
    .map((status) => textAt(status, 'state', 'waiting', 'reason'))
    .find((reason) => reason !== '');
  return waiting ?? (textAt(pod, 'status', 'reason') || textAt(pod, 'status', 'phase'));
}

const POD: readonly Column[] = [
  NAME,
  column('Ready', (pod) => {
    const ready = listAt(pod, 'status', 'containerStatuses').filter((status) => valueAt(status, ['ready']) === true);
    return `${ready.length}/${listAt(pod, 'spec', 'containers').length}`;
  }),
  column('Status', podStatus),
  column('Restarts', (pod) =>
    String(
      listAt(pod, 'status', 'containerStatuses').reduce<number>(
        (sum, status) => sum + Number(valueAt(status, ['restartCount']) ?? 0),
        0,
      ),
    ),
  ),
  AGE,
  wide('IP', orNone(at('status', 'podIP'))),
  wide('Node', orNone(at('spec', 'nodeName'))),
  wide('Nominated Node', orNone(at('status', 'nominatedNodeName'))),
  wide('Readiness Gates', () => '<none>'),
];

function servicePorts(service: KubeObject): string {
  const ports = listAt(service, 'spec', 'ports').map((port) => {
    const node = valueAt(port, ['nodePort']);
    return `${String(valueAt(port, ['port']))}${node === undefined ? '' : `:${JSON.stringify(node)}`}/${textAt(port, 'protocol') || 'TCP'}`;
  });
  return ports.length === 0 ? '<none>' : ports.join(',');
}

const SERVICE: readonly Column[] = [
  NAME,
  column('Type', at('spec', 'type')),
  column('Cluster-IP', orNone(at('spec', 'clusterIP'))),
  column('External-IP', (service) => {
    const external = [
      ...listAt(service, 'spec', 'externalIPs'),
      ...listAt(service, 'status', 'loadBalancer', 'ingress').map(
        (entry) => textAt(entry, 'ip') || textAt(entry, 'hostname'),
      ),
    ];
    if (external.length > 0) return external.join(',');
    return textAt(service, 'spec', 'type') === 'LoadBalancer'
      ? '<pending>'
      : textAt(service, 'spec', 'externalName') || '<none>';
  }),
  column('Port(s)', servicePorts),
  AGE,
  wide('Selector', (service) => selectorText(valueAt(service, ['spec', 'selector'])) || '<none>'),
];

function nodeStatus(node: KubeObject): string {
  const ready = listAt(node, 'status', 'conditions').find((condition) => textAt(condition, 'type') === 'Ready');
  const text = ready === undefined ? 'Unknown' : textAt(ready, 'status') === 'True' ? 'Ready' : 'NotReady';
  return valueAt(node, ['spec', 'unschedulable']) === true ? `${text},SchedulingDisabled` : text;
}

const nodeAddress =
  (type: string): Cell =>
  (node) =>
    textAt(
      listAt(node, 'status', 'addresses').find((address) => textAt(address, 'type') === type),
      'address',
    ) || '<none>';

const NODE: readonly Column[] = [
  NAME,
  column('Status', nodeStatus),
  column('Roles', (node) => {
    const prefix = 'node-role.kubernetes.io/';
    const roles = Object.keys(node.metadata.labels ?? {})
      .filter((key) => key.startsWith(prefix))
      .map((key) => key.slice(prefix.length));
    return roles.length === 0 ? '<none>' : roles.sort().join(',');
  }),
  AGE,
  column('Version', at('status', 'nodeInfo', 'kubeletVersion')),
  wide('Internal-IP', nodeAddress('InternalIP')),
  wide('External-IP', nodeAddress('ExternalIP')),
  wide('OS-Image', orNone(at('status', 'nodeInfo', 'osImage'))),
  wide('Kernel-Version', orNone(at('status', 'nodeInfo', 'kernelVersion'))),
  wide('Container-Runtime', orNone(at('status', 'nodeInfo', 'containerRuntimeVersion'))),
];

const count =
  (...path: string[]): Cell =>
  (object) =>
    Number(valueAt(object, path) ?? 0);
const integer = (name: string, cell: Cell): Column => column(name, cell, { type: 'integer' });

/** Columns by `group/plural`; other kinds have a name and an age. */
const COLUMNS: Readonly<Record<string, readonly Column[]>> = {
  '/pods': POD,
  '/services': SERVICE,
  '/nodes': NODE,
  '/namespaces': [NAME, column('Status', at('status', 'phase')), AGE],
  '/configmaps': [
    NAME,
    integer('Data', (map) => Object.keys({ ...(map['data'] as object), ...(map['binaryData'] as object) }).length),
    AGE,
  ],
  '/secrets': [
    NAME,
    column('Type', at('type')),
    integer('Data', (secret) => Object.keys(secret['data'] ?? {}).length),
    AGE,
  ],
  '/serviceaccounts': [NAME, integer('Secrets', (account) => listAt(account, 'secrets').length), AGE],
  '/events': [
    column('Last Seen', (event) =>
      ageOf(textAt(event, 'lastTimestamp') || textAt(event, 'eventTime') || event.metadata.creationTimestamp),
    ),
    column('Type', at('type')),
    column('Reason', at('reason')),
    column(
      'Object',
      (event) => `${textAt(event, 'involvedObject', 'kind').toLowerCase()}/${textAt(event, 'involvedObject', 'name')}`,
    ),
    wide('Source', at('source', 'component')),
    column('Message', at('message')),
    { ...NAME, priority: 1 },
  ],
  '/endpoints': [
    NAME,
    column('Endpoints', (endpoints) => {
      const all = listAt(endpoints, 'subsets').flatMap((subset) =>
        listAt(subset, 'addresses').flatMap((address) =>
          listAt(subset, 'ports').map((port) => `${textAt(address, 'ip')}:${String(valueAt(port, ['port']))}`),
        ),
      );
      return all.length === 0 ? '<none>' : all.join(',');
    }),
    AGE,
  ],
  'discovery.k8s.io/endpointslices': [
    NAME,
    column('AddressType', at('addressType')),
    column(
      'Ports',
      (slice) =>
        listAt(slice, 'ports')
          .map((port) => String(valueAt(port, ['port'])))
          .join(',') || '<unset>',
    ),
    column(
      'Endpoints',
      (slice) =>
        listAt(slice, 'endpoints')
          .flatMap((endpoint) => listAt(endpoint, 'addresses'))
          .join(',') || '<unset>',
    ),
    AGE,
  ],
  'networking.k8s.io/networkpolicies': [
    NAME,
    column(
      'Pod-Selector',
      (policy) => selectorText(valueAt(policy, ['spec', 'podSelector', 'matchLabels'])) || '<none>',
    ),
    AGE,
  ],
  'coordination.k8s.io/leases': [NAME, column('Holder', at('spec', 'holderIdentity')), AGE],
  'apps/deployments': [
    NAME,
    column(
      'Ready',
      (it) =>
        `${Number(valueAt(it, ['status', 'readyReplicas']) ?? 0)}/${Number(valueAt(it, ['spec', 'replicas']) ?? 0)}`,
    ),
    integer('Up-to-date', count('status', 'updatedReplicas')),
    integer('Available', count('status', 'availableReplicas')),
    AGE,
  ],
  'apps/replicasets': [
    NAME,
    integer('Desired', count('spec', 'replicas')),
    integer('Current', count('status', 'replicas')),
    integer('Ready', count('status', 'readyReplicas')),
    AGE,
  ],
  'apps/statefulsets': [
    NAME,
    column(
      'Ready',
      (it) =>
        `${Number(valueAt(it, ['status', 'readyReplicas']) ?? 0)}/${Number(valueAt(it, ['spec', 'replicas']) ?? 0)}`,
    ),
    AGE,
  ],
  'apps/daemonsets': [
    NAME,
    integer('Desired', count('status', 'desiredNumberScheduled')),
    integer('Current', count('status', 'currentNumberScheduled')),
    integer('Ready', count('status', 'numberReady')),
    integer('Up-to-date', count('status', 'updatedNumberScheduled')),
    integer('Available', count('status', 'numberAvailable')),
    column(
      'Node Selector',
      (it) => selectorText(valueAt(it, ['spec', 'template', 'spec', 'nodeSelector'])) || '<none>',
    ),
    AGE,
  ],
  'apiextensions.k8s.io/customresourcedefinitions': PLAIN_COLUMNS,
  'rbac.authorization.k8s.io/roles': PLAIN_COLUMNS,
  'rbac.authorization.k8s.io/clusterroles': PLAIN_COLUMNS,
  'rbac.authorization.k8s.io/rolebindings': [NAME, column('Role', roleOf), AGE],
  'rbac.authorization.k8s.io/clusterrolebindings': [NAME, column('Role', roleOf), AGE],
};

function roleOf(binding: KubeObject): string {
  return `${textAt(binding, 'roleRef', 'kind')}/${textAt(binding, 'roleRef', 'name')}`;
}

export function builtinColumns(group: string, plural: string): readonly Column[] {
  return COLUMNS[`${group}/${plural}`] ?? [NAME, AGE];
}

export const NAME_COLUMN = NAME;
