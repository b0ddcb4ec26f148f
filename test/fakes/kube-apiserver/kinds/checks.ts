/** What a real server refuses of the built-in kinds, as far as agents and operators may run into it. */
import { isIP } from 'node:net';
import { deepEqual, isObject, listAt, textAt, valueAt, type KubeObject } from '../object.ts';
import type { StatusCause } from '../status.ts';
import { labelViolations, required, wrong } from './names.ts';

/** Violations of a new version of an object; `old` is undefined when it is created. */
export function builtinViolations(group: string, object: KubeObject, old: KubeObject | undefined): StatusCause[] {
  return CHECKS[`${group}/${object.kind}`]?.(object, old) ?? [];
}

type Check = (object: KubeObject, old: KubeObject | undefined) => StatusCause[];

const CHECKS: Readonly<Record<string, Check | undefined>> = {
  '/Pod': pod,
  '/Service': service,
  '/Node': node,
  '/Event': event,
  'networking.k8s.io/NetworkPolicy': networkPolicy,
  'coordination.k8s.io/Lease': lease,
  'discovery.k8s.io/EndpointSlice': endpointSlice,
  'rbac.authorization.k8s.io/RoleBinding': binding,
  'rbac.authorization.k8s.io/ClusterRoleBinding': binding,
  'apps/Deployment': workload,
  'apps/DaemonSet': workload,
};

function pod(object: KubeObject, old: KubeObject | undefined): StatusCause[] {
  const containers = listAt(object, 'spec', 'containers');
  const found = containers.length === 0 ? [required('spec.containers')] : [];
  for (const [i, container] of containers.entries()) {
    if (textAt(container, 'name') === '') found.push(required(`spec.containers[${i}].name`));
    if (textAt(container, 'image') === '') found.push(required(`spec.containers[${i}].image`));
    for (const [j, port] of listAt(container, 'ports').entries())
      found.push(
        ...portViolations(valueAt(port, ['containerPort']), `spec.containers[${i}].ports[${j}].containerPort`),
      );
  }
  if (old === undefined || deepEqual(immutablePart(object), immutablePart(old))) return found;
  const message =
    'Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)';
  return [...found, { reason: 'FieldValueForbidden', field: 'spec', message }];
}

function immutablePart(object: KubeObject): unknown {
  const spec = { ...(object['spec'] as object), tolerations: undefined, activeDeadlineSeconds: undefined };
  const imageless = (list: readonly unknown[]): unknown => list.map((item) => ({ ...(item as object), image: '' }));
  return {
    ...spec,
    containers: imageless(listAt(object, 'spec', 'containers')),
    initContainers: imageless(listAt(object, 'spec', 'initContainers')),
    ephemeralContainers: undefined,
  };
}

function portViolations(port: unknown, field: string): StatusCause[] {
  if (port === undefined) return [required(field)];
  return typeof port === 'number' && port >= 1 && port <= 65_535
    ? []
    : [wrong(field, port, 'must be between 1 and 65535, inclusive')];
}

function service(object: KubeObject, old: KubeObject | undefined): StatusCause[] {
  const ports = listAt(object, 'spec', 'ports');
  const type = textAt(object, 'spec', 'type');
  const headless = textAt(object, 'spec', 'clusterIP') === 'None';
  const found = ports.length === 0 && type !== 'ExternalName' && !headless ? [required('spec.ports')] : [];
  for (const [i, port] of ports.entries()) {
    found.push(...portViolations(valueAt(port, ['port']), `spec.ports[${i}].port`));
    if (ports.length > 1 && textAt(port, 'name') === '') found.push(required(`spec.ports[${i}].name`));
    const protocol = textAt(port, 'protocol');
    if (!['TCP', 'UDP', 'SCTP'].includes(protocol))
      found.push({
        reason: 'FieldValueNotSupported',
        field: `spec.ports[${i}].protocol`,
        message: `Unsupported value: "${protocol}": supported values: "SCTP", "TCP", "UDP"`,
      });
  }
  if (!['ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName'].includes(type))
    found.push({
      reason: 'FieldValueNotSupported',
      field: 'spec.type',
      message: `Unsupported value: "${type}": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"`,
    });
  const before = textAt(old, 'spec', 'clusterIP');
  if (before !== '' && type !== 'ExternalName' && before !== textAt(object, 'spec', 'clusterIP'))
    found.push(wrong('spec.clusterIPs[0]', textAt(object, 'spec', 'clusterIP'), 'may not change once set'));
  return found;
}

function node(object: KubeObject, old: KubeObject | undefined): StatusCause[] {
  const before = textAt(old, 'spec', 'podCIDR');
  const changed =
    old !== undefined &&
    before !== '' &&
    (before !== textAt(object, 'spec', 'podCIDR') ||
      !deepEqual(listAt(old, 'spec', 'podCIDRs'), listAt(object, 'spec', 'podCIDRs')));
  const found = listAt(object, 'spec', 'podCIDRs').flatMap((cidr, i) =>
    isCidr(cidr) ? [] : [wrong(`spec.podCIDRs[${i}]`, cidr, 'must be a valid CIDR value')],
  );
  if (changed)
    found.push({
      reason: 'FieldValueForbidden',
      field: 'spec',
      message:
        'Forbidden: node updates may only change labels, taints, or capacity (or configSource, if the DynamicKubeletConfig feature gate is enabled)',
    });
  return found;
}

/** An event lives in the namespace of what it is about; those about what is in none, in one of these two. */
function event(object: KubeObject): StatusCause[] {
  const home = object.metadata.namespace ?? '';
  const about = textAt(object, 'involvedObject', 'namespace');
  const fits = about === '' ? ['', 'default', 'kube-system'].includes(home) : about === home;
  return fits ? [] : [wrong('involvedObject.namespace', about, 'does not match event.namespace')];
}

function isCidr(text: unknown): boolean {
  const match = /^([^/]+)\/(\d{1,3})$/.exec(typeof text === 'string' ? text : '');
  if (match === null) return false;
  const family = isIP(match[1]!);
  return family !== 0 && Number(match[2]) <= (family === 4 ? 32 : 128);
}

function networkPolicy(object: KubeObject): StatusCause[] {
  const found = labelViolations(
    valueAt(object, ['spec', 'podSelector', 'matchLabels']),
    'spec.podSelector.matchLabels',
  );
  for (const [direction, peers] of [
    ['ingress', 'from'],
    ['egress', 'to'],
  ] as const) {
    for (const [i, rule] of listAt(object, 'spec', direction).entries()) {
      for (const [j, peer] of listAt(rule, peers).entries()) {
        const field = `spec.${direction}[${i}].${peers}[${j}]`;
        const block = valueAt(peer, ['ipBlock']);
        if (!isObject(peer) || Object.keys(peer).length === 0) found.push(required(field, 'must specify a peer'));
        if (block === undefined) continue;
        if (Object.keys(peer as object).length > 1)
          found.push({
            reason: 'FieldValueForbidden',
            field,
            message: 'Forbidden: may not specify both ipBlock and another peer',
          });
        for (const cidr of [valueAt(block, ['cidr']), ...listAt(block, 'except')])
          if (!isCidr(cidr)) found.push(wrong(`${field}.ipBlock.cidr`, cidr, 'must be a valid CIDR value'));
      }
    }
  }
  return found;
}

function lease(object: KubeObject): StatusCause[] {
  const seconds = valueAt(object, ['spec', 'leaseDurationSeconds']);
  const transitions = valueAt(object, ['spec', 'leaseTransitions']);
  return [
    ...(typeof seconds === 'number' && seconds <= 0
      ? [wrong('spec.leaseDurationSeconds', seconds, 'must be greater than 0')]
      : []),
    ...(typeof transitions === 'number' && transitions < 0
      ? [wrong('spec.leaseTransitions', transitions, 'must be greater than or equal to 0')]
      : []),
  ];
}

function endpointSlice(object: KubeObject, old: KubeObject | undefined): StatusCause[] {
  const type = textAt(object, 'addressType');
  const found = ['IPv4', 'IPv6', 'FQDN'].includes(type)
    ? []
    : [
        type === ''
          ? required('addressType')
          : {
              reason: 'FieldValueNotSupported',
              field: 'addressType',
              message: `Unsupported value: "${type}": supported values: "FQDN", "IPv4", "IPv6"`,
            },
      ];
  if (old !== undefined && textAt(old, 'addressType') !== type)
    found.push(wrong('addressType', type, 'field is immutable'));
  for (const [i, endpoint] of listAt(object, 'endpoints').entries()) {
    const addresses = listAt(endpoint, 'addresses');
    if (addresses.length === 0) found.push(required(`endpoints[${i}].addresses`, 'must contain at least 1 address'));
    for (const [j, address] of addresses.entries()) {
      const family = isIP(String(address));
      if ((type === 'IPv4' && family !== 4) || (type === 'IPv6' && family !== 6))
        found.push(wrong(`endpoints[${i}].addresses[${j}]`, address, `must be a valid ${type} address`));
    }
  }
  return found;
}

function binding(object: KubeObject, old: KubeObject | undefined): StatusCause[] {
  const found = textAt(object, 'roleRef', 'name') === '' ? [required('roleRef.name')] : [];
  if (old !== undefined && !deepEqual(old['roleRef'], object['roleRef']))
    found.push(wrong('roleRef', object['roleRef'], 'cannot change roleRef'));
  return found;
}

function workload(object: KubeObject): StatusCause[] {
  const selector = valueAt(object, ['spec', 'selector', 'matchLabels']);
  if (!isObject(selector)) return [required('spec.selector')];
  const labels = valueAt(object, ['spec', 'template', 'metadata', 'labels']);
  const matches = Object.entries(selector).every(([key, value]) => isObject(labels) && labels[key] === value);
  return matches ? [] : [wrong('spec.template.metadata.labels', labels, '`selector` does not match template `labels`')];
}
