import { parseAddress, parseCidr, type Address, type Cidr } from '../model/address.ts';
import { port, type Port } from '../model/port.ts';
import type { Resource } from '../model/resource.ts';
import { Fields } from './fields.ts';

export interface ServicePort {
  /** Empty for the only port of a service. */
  readonly name: string;
  /** IANA number. */
  readonly protocol: number;
  readonly port: Port;
  /** A number, or the name of a container's port. */
  readonly targetPort: Port | string;
  readonly nodePort: Port | undefined;
}

const SERVICE_TYPES = ['ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName'] as const;
const TRAFFIC_POLICIES = ['Cluster', 'Local'] as const;

/** What the agent needs to know of a Service. */
export interface Service {
  readonly namespace: string;
  readonly name: string;
  readonly labels: ReadonlyMap<string, string>;
  readonly annotations: ReadonlyMap<string, string>;
  readonly type: (typeof SERVICE_TYPES)[number];
  /** Undefined when the service has no selector: its EndpointSlices are written by hand. */
  readonly selector: ReadonlyMap<string, string> | undefined;
  /** It has no address of its own; names lead to its backends directly. */
  readonly headless: boolean;
  /** Empty when headless, or not yet given any. */
  readonly clusterAddresses: readonly Address[];
  readonly externalAddresses: readonly Address[];
  readonly loadBalancerAddresses: readonly Address[];
  readonly loadBalancerSourceRanges: readonly Cidr[];
  readonly ports: readonly ServicePort[];
  readonly externalTrafficPolicy: (typeof TRAFFIC_POLICIES)[number];
  readonly internalTrafficPolicy: (typeof TRAFFIC_POLICIES)[number];
  /** Where load balancers ask a node whether it has backends of its own; only with externalTrafficPolicy Local. */
  readonly healthCheckNodePort: Port | undefined;
  /** Seconds for which a client keeps its backend; undefined without affinity. */
  readonly sessionAffinitySeconds: number | undefined;
}

/** Labels of services, and of their slices, that are left to somebody else than the nodes' proxies, whatever their value. */
const LEFT_TO_OTHERS = ['service.kubernetes.io/service-proxy-name', 'service.kubernetes.io/headless'] as const;

/** Whether nodes are to balance the service. */
export function isBalanced({ labels }: Pick<Service, 'labels'>): boolean {
  return !LEFT_TO_OTHERS.some((label) => labels.has(label));
}

/** @throws WeirError RESOURCE_INVALID naming the field. */
export function decodeService(resource: Resource): Service {
  const service = Fields.of(resource, 'Service');
  const metadata = service.object('metadata');
  const spec = service.object('spec');
  const type = spec.oneOf('type', SERVICE_TYPES, 'ClusterIP');
  const selector = spec.stringMap('selector');
  return {
    namespace: resource.namespace,
    name: resource.name,
    labels: metadata.stringMap('labels'),
    annotations: metadata.stringMap('annotations'),
    type,
    selector: selector.size === 0 ? undefined : selector,
    headless: spec.optionalString('clusterIP') === 'None' || spec.strings('clusterIPs').includes('None'),
    clusterAddresses: clusterAddresses(spec),
    externalAddresses: spec.addresses('externalIPs'),
    loadBalancerAddresses: service
      .object('status')
      .object('loadBalancer')
      .objects('ingress')
      // Behind ipMode Proxy a balancer sees all traffic, that from inside of the cluster too.
      .filter((item) => item.optionalString('ipMode') !== 'Proxy')
      .flatMap((item) => item.optionalAddress('ip') ?? []),
    // An API server lets blanks around them pass.
    loadBalancerSourceRanges: spec
      .strings('loadBalancerSourceRanges')
      .map((text, i) => spec.parsed(`loadBalancerSourceRanges[${i}]`, text.trim(), parseCidr)),
    ports: spec.objects('ports').map((item) => decodePort(item)),
    externalTrafficPolicy: spec.oneOf('externalTrafficPolicy', TRAFFIC_POLICIES, 'Cluster'),
    internalTrafficPolicy: spec.oneOf('internalTrafficPolicy', TRAFFIC_POLICIES, 'Cluster'),
    healthCheckNodePort: chosenPort(spec, 'healthCheckNodePort'),
    sessionAffinitySeconds: sessionAffinity(spec),
  };
}

function clusterAddresses(spec: Fields): Address[] {
  const listed = spec.strings('clusterIPs');
  if (listed.length > 0) {
    return listed.flatMap((text, i) =>
      text === 'None' || text === '' ? [] : [spec.parsed(`clusterIPs[${i}]`, text, parseAddress)],
    );
  }
  const single = spec.optionalString('clusterIP') ?? '';
  return single === 'None' || single === '' ? [] : [spec.parsed('clusterIP', single, parseAddress)];
}

function decodePort(item: Fields): ServicePort {
  const number = port(item.integer('port', 1, 65535));
  return {
    name: item.optionalString('name') ?? '',
    protocol: item.protocol(),
    port: number,
    targetPort: targetPort(item) ?? number,
    nodePort: chosenPort(item, 'nodePort'),
  };
}

/** 0 is what an API server that has not chosen yet writes. */
function chosenPort(item: Fields, field: string): Port | undefined {
  const number = item.optionalInteger(field, 0, 65535);
  return number === undefined || number === 0 ? undefined : port(number);
}

/** An IntOrString; absent and 0 mean the service's own port. */
function targetPort(item: Fields): Port | string | undefined {
  if (!item.has('targetPort')) return undefined;
  if (item.isString('targetPort')) return item.string('targetPort');
  const number = item.integer('targetPort', 0, 65535);
  return number === 0 ? undefined : port(number);
}

function sessionAffinity(spec: Fields): number | undefined {
  if (spec.oneOf('sessionAffinity', ['None', 'ClientIP'], 'None') === 'None') return undefined;
  const config = spec.object('sessionAffinityConfig').object('clientIP');
  // Three hours is Kubernetes' default.
  return config.optionalInteger('timeoutSeconds', 1, 86_400) ?? 10_800;
}
