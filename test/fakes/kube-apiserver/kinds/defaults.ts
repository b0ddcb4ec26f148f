/** Defaults of the built-in kinds: those that agents, operators and kubectl look at. */
import { isObject, listAt, textAt, type Json, type KubeObject } from '../object.ts';

type Defaulting = (object: KubeObject) => void;

/** Writes the defaults of a kind, in place. */
export function applyBuiltinDefaults(group: string, object: KubeObject): void {
  DEFAULTS[`${group}/${object.kind}`]?.(object);
}

const DEFAULTS: Readonly<Record<string, Defaulting | undefined>> = {
  '/Pod': (pod) => {
    podSpec(asObject(pod, 'spec'));
    asObject(pod, 'spec')['serviceAccountName'] ??= 'default';
  },
  '/Service': service,
  '/Namespace': (namespace) => {
    namespace.metadata.labels = {
      ...namespace.metadata.labels,
      'kubernetes.io/metadata.name': namespace.metadata.name,
    };
    absent(asObject(namespace, 'spec'), { finalizers: ['kubernetes'] });
  },
  '/Secret': (secret) => {
    absent(secret, { type: 'Opaque' });
    const plain = secret['stringData'];
    if (!isObject(plain)) return;
    const encoded = Object.entries(plain).map(([key, value]) => [key, Buffer.from(String(value)).toString('base64')]);
    secret['data'] = { ...(secret['data'] as object | undefined), ...(Object.fromEntries(encoded) as Json) };
    delete secret['stringData'];
  },
  'networking.k8s.io/NetworkPolicy': networkPolicy,
  'discovery.k8s.io/EndpointSlice': (slice) => {
    for (const port of listAt(slice, 'ports')) if (isObject(port)) absent(port, { name: '', protocol: 'TCP' });
  },
  'apps/Deployment': (it) => workload(it, { replicas: 1, revisionHistoryLimit: 10, progressDeadlineSeconds: 600 }),
  'apps/ReplicaSet': (it) => workload(it, { replicas: 1 }),
  'apps/StatefulSet': (it) =>
    workload(it, { replicas: 1, podManagementPolicy: 'OrderedReady', revisionHistoryLimit: 10 }),
  'apps/DaemonSet': (it) => workload(it, { revisionHistoryLimit: 10 }),
};

function workload(object: KubeObject, defaults: Json): void {
  const spec = asObject(object, 'spec');
  absent(spec, defaults);
  const template = spec['template'];
  if (isObject(template)) podSpec(asObject(template, 'spec'));
}

function podSpec(spec: Json): void {
  absent(spec, {
    restartPolicy: 'Always',
    dnsPolicy: 'ClusterFirst',
    terminationGracePeriodSeconds: 30,
    schedulerName: 'default-scheduler',
    securityContext: {},
    enableServiceLinks: true,
  });
  for (const container of [...listAt(spec, 'containers'), ...listAt(spec, 'initContainers')]) {
    if (!isObject(container)) continue;
    const latest = !/:(?!latest$)[^/]+$/.test(textAt(container, 'image'));
    absent(container, {
      imagePullPolicy: latest ? 'Always' : 'IfNotPresent',
      terminationMessagePath: '/dev/termination-log',
      terminationMessagePolicy: 'File',
      resources: {},
    });
    for (const port of listAt(container, 'ports')) if (isObject(port)) absent(port, { protocol: 'TCP' });
  }
}

function service(object: KubeObject): void {
  const spec = asObject(object, 'spec');
  absent(spec, { type: 'ClusterIP', sessionAffinity: 'None' });
  if (spec['type'] !== 'ExternalName') absent(spec, { internalTrafficPolicy: 'Cluster' });
  if (['NodePort', 'LoadBalancer'].includes(String(spec['type']))) absent(spec, { externalTrafficPolicy: 'Cluster' });
  if (spec['type'] === 'LoadBalancer') absent(spec, { allocateLoadBalancerNodePorts: true });
  if (spec['sessionAffinity'] === 'ClientIP')
    absent(spec, { sessionAffinityConfig: { clientIP: { timeoutSeconds: 10_800 } } });
  for (const port of listAt(spec, 'ports'))
    if (isObject(port)) absent(port, { protocol: 'TCP', targetPort: port['port'] });
}

function networkPolicy(object: KubeObject): void {
  const spec = asObject(object, 'spec');
  absent(spec, { podSelector: {} });
  absent(spec, { policyTypes: listAt(spec, 'egress').length > 0 ? ['Ingress', 'Egress'] : ['Ingress'] });
  for (const rule of [...listAt(spec, 'ingress'), ...listAt(spec, 'egress')])
    for (const port of listAt(rule, 'ports')) if (isObject(port)) absent(port, { protocol: 'TCP' });
}

/** The object in a field, made when it is absent. */
function asObject(object: Json, field: string): Json {
  const value = object[field];
  if (isObject(value)) return value;
  const made: Json = {};
  object[field] = made;
  return made;
}

function absent(object: Json, defaults: Json): void {
  for (const [field, value] of Object.entries(defaults)) object[field] ??= value;
}
