import type { Address } from '../model/address.ts';
import { identityId, type IdentityId } from '../model/identity.ts';
import { port, PROTOCOL } from '../model/port.ts';
import type { Resource } from '../model/resource.ts';
import { Fields } from './fields.ts';
import type { NamedPort } from './pod.ts';

/** An endpoint of any node, as its agent announces it. */
export interface CiliumEndpoint {
  readonly namespace: string;
  /** Of the pod. */
  readonly name: string;
  readonly identity: IdentityId;
  readonly addresses: readonly Address[];
  /** Of the node that it runs on; undefined while that is not known. */
  readonly nodeAddress: Address | undefined;
  readonly namedPorts: readonly NamedPort[];
}

/** Undefined while the endpoint has no identity yet. @throws WeirError RESOURCE_INVALID naming the field. */
export function decodeCiliumEndpoint(resource: Resource): CiliumEndpoint | undefined {
  const status = Fields.of(resource, 'CiliumEndpoint').object('status');
  const identity = status.object('identity').optionalInteger('id', 0, MAX_IDENTITY) ?? 0;
  if (identity === 0) return undefined;
  return {
    namespace: resource.namespace,
    name: resource.name,
    identity: identityId(identity),
    ...networking(status),
    namedPorts: namedPorts(status),
  };
}

/** The endpoints of a CiliumEndpointSlice. @throws WeirError RESOURCE_INVALID naming the field. */
export function decodeCiliumEndpointSlice(resource: Resource): readonly CiliumEndpoint[] {
  const slice = Fields.of(resource, 'CiliumEndpointSlice');
  const namespace = slice.optionalString('namespace') ?? '';
  return slice.objects('endpoints').flatMap((item): CiliumEndpoint[] => {
    const identity = item.optionalInteger('id', 0, MAX_IDENTITY) ?? 0;
    if (identity === 0) return [];
    const name = item.string('name');
    return [{ namespace, name, identity: identityId(identity), ...networking(item), namedPorts: namedPorts(item) }];
  });
}

const MAX_IDENTITY = 0xffffffff;

function networking(owner: Fields): Pick<CiliumEndpoint, 'addresses' | 'nodeAddress'> {
  const fields = owner.object('networking');
  const addresses = fields
    .objects('addressing')
    .flatMap((pair) => [pair.optionalAddress('ipv4'), pair.optionalAddress('ipv6')])
    .filter((address) => address !== undefined);
  return { addresses, nodeAddress: fields.optionalAddress('node') };
}

function namedPorts(owner: Fields): NamedPort[] {
  return owner.objects('named-ports').map((item) => ({
    name: item.string('name'),
    protocol: PROTOCOL[item.oneOf('protocol', ['TCP', 'UDP', 'SCTP'], 'TCP')],
    port: port(item.integer('port', 1, 65535)),
  }));
}
