import type { Address } from '../model/address.ts';
import { port, type Port } from '../model/port.ts';
import type { Resource } from '../model/resource.ts';
import { Fields } from './fields.ts';

/** One backend of a slice. */
export interface SliceEndpoint {
  readonly addresses: readonly Address[];
  /** May get new connections. */
  readonly ready: boolean;
  /** May be used when nothing is ready: it still serves, also while it terminates. */
  readonly serving: boolean;
  readonly terminating: boolean;
  readonly nodeName: string | undefined;
  readonly zone: string | undefined;
  /** `namespace/name` of the pod behind it, when the slice says so. */
  readonly pod: string | undefined;
}

export interface SlicePort {
  /** Empty for the only port of a service. */
  readonly name: string;
  /** IANA number. */
  readonly protocol: number;
  /** Undefined means every port. */
  readonly port: Port | undefined;
}

/** What the agent needs to know of an EndpointSlice. */
export interface EndpointSlice {
  readonly namespace: string;
  readonly name: string;
  /** The service it belongs to; undefined when it belongs to none. */
  readonly service: string | undefined;
  readonly family: 4 | 6;
  readonly endpoints: readonly SliceEndpoint[];
  readonly ports: readonly SlicePort[];
}

/** Ties a slice to its service. */
export const SERVICE_NAME_LABEL = 'kubernetes.io/service-name';

/**
 * Slices of names (`addressType: FQDN`) hold no addresses and decode to undefined.
 *
 * @throws WeirError RESOURCE_INVALID naming the field.
 */
export function decodeEndpointSlice(resource: Resource): EndpointSlice | undefined {
  const slice = Fields.of(resource, 'EndpointSlice');
  if (!slice.has('addressType')) slice.fail('addressType', 'is missing');
  const type = slice.oneOf('addressType', ['IPv4', 'IPv6', 'FQDN'], 'IPv4');
  if (type === 'FQDN') return undefined;
  const family = type === 'IPv4' ? 4 : 6;
  return {
    namespace: resource.namespace,
    name: resource.name,
    service: slice.object('metadata').stringMap('labels').get(SERVICE_NAME_LABEL),
    family,
    endpoints: slice.objects('endpoints').map((item) => decodeEndpoint(item, family, resource.namespace)),
    ports: slice.objects('ports').map((item) => {
      const number = item.optionalInteger('port', 1, 65535);
      return {
        name: item.optionalString('name') ?? '',
        protocol: item.protocol(),
        port: number === undefined ? undefined : port(number),
      };
    }),
  };
}

function decodeEndpoint(item: Fields, family: 4 | 6, namespace: string): SliceEndpoint {
  const addresses = item.addresses('addresses');
  const other = addresses.findIndex((address) => address.family !== family);
  if (other >= 0) item.fail(`addresses[${other}]`, `must be an IPv${family} address, as addressType says`);
  const conditions = item.object('conditions');
  // Kubernetes: an unknown readiness is read as ready, and serving is ready where it is not said.
  const ready = conditions.boolean('ready', true);
  const target = item.object('targetRef');
  const podName = target.optionalString('kind') === 'Pod' ? target.string('name') : undefined;
  return {
    addresses,
    ready,
    serving: conditions.boolean('serving', ready),
    terminating: conditions.boolean('terminating', false),
    nodeName: item.optionalString('nodeName'),
    zone: item.optionalString('zone'),
    pod: podName === undefined ? undefined : `${target.optionalString('namespace') ?? namespace}/${podName}`,
  };
}
