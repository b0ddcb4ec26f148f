import type { Address } from '../model/address.ts';
import { port, type Port } from '../model/port.ts';
import type { Resource } from '../model/resource.ts';
import type { HostPort } from '../model/service.ts';
import { Fields } from './fields.ts';

/** A named port of a container, which policies may name (S35). */
export interface NamedPort {
  readonly name: string;
  /** IANA number. */
  readonly protocol: number;
  readonly port: Port;
}

export const POD_PHASES = ['Pending', 'Running', 'Succeeded', 'Failed', 'Unknown'] as const;

/** What the agent needs to know of a Pod. */
export interface Pod {
  readonly namespace: string;
  readonly name: string;
  /** Empty when the manifest names none. */
  readonly uid: string;
  readonly labels: ReadonlyMap<string, string>;
  readonly annotations: ReadonlyMap<string, string>;
  readonly serviceAccountName: string;
  readonly nodeName: string | undefined;
  /** The pod has no interface of its own: it is the host. */
  readonly hostNetwork: boolean;
  /** Of all containers, sidecars (restartable init containers) included. */
  readonly namedPorts: readonly NamedPort[];
  /** Ports of the node that lead to it. */
  readonly hostPorts: readonly HostPort[];
  readonly phase: (typeof POD_PHASES)[number];
  /** Empty until the pod has some. */
  readonly addresses: readonly Address[];
  readonly hostAddress: Address | undefined;
  /** True from the moment that its deletion was asked for. */
  readonly terminating: boolean;
}

/** @throws WeirError RESOURCE_INVALID naming the field. */
export function decodePod(resource: Resource): Pod {
  const pod = Fields.of(resource, 'Pod');
  const metadata = pod.object('metadata');
  const spec = pod.object('spec');
  const status = pod.object('status');
  const accountName = spec.optionalString('serviceAccountName') ?? spec.optionalString('serviceAccount');
  return {
    namespace: resource.namespace,
    name: resource.name,
    uid: resource.uid,
    labels: metadata.stringMap('labels'),
    annotations: metadata.stringMap('annotations'),
    // The API server puts `default` where the author put nothing; manifests come without it.
    serviceAccountName: accountName === undefined || accountName === '' ? 'default' : accountName,
    nodeName: spec.optionalString('nodeName'),
    hostNetwork: spec.boolean('hostNetwork', false),
    namedPorts: namedPorts(spec),
    hostPorts: hostPorts(spec),
    phase: status.oneOf('phase', POD_PHASES, 'Pending'),
    addresses: podAddresses(status),
    hostAddress: status.optionalAddress('hostIP'),
    terminating: metadata.has('deletionTimestamp'),
  };
}

/** Of all containers that stay, sidecars (restartable init containers) included. */
function containerPorts(spec: Fields): Fields[] {
  const sidecars = spec
    .objects('initContainers')
    .filter((container) => container.optionalString('restartPolicy') === 'Always');
  return [...spec.objects('containers'), ...sidecars].flatMap((container) => container.objects('ports'));
}

function namedPorts(spec: Fields): NamedPort[] {
  return containerPorts(spec).flatMap((item) => {
    const number = port(item.integer('containerPort', 1, 65535));
    const protocol = item.protocol();
    const name = item.optionalString('name');
    return name === undefined || name === '' ? [] : [{ name, protocol, port: number }];
  });
}

function hostPorts(spec: Fields): HostPort[] {
  return containerPorts(spec).flatMap((item) => {
    // 0 is none.
    const number = item.optionalInteger('hostPort', 0, 65535) ?? 0;
    if (number === 0) return [];
    const hostAddress = item.optionalAddress('hostIP');
    const containerPort = port(item.integer('containerPort', 1, 65535));
    return [{ hostPort: port(number), hostAddress, containerPort, protocol: item.protocol() }];
  });
}

function podAddresses(status: Fields): Address[] {
  const listed = status.objects('podIPs').map((item) => item.address('ip'));
  if (listed.length > 0) return listed;
  const single = status.optionalAddress('podIP');
  return single === undefined ? [] : [single];
}
