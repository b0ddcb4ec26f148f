/** What stands in the store about addresses and nodes: Cilium's JSON. Addresses are text, masks base64. */
import { formatAddress, maskAddress, parseAddress, parseCidr, type Address, type Cidr } from '../model/address.ts';
import { WeirError } from '../model/errors.ts';
import { identityId, type IdentityId } from '../model/identity.ts';
import { NODE_ADDRESS_TYPES, type ClusterNode, type NodeAddress } from '../model/node.ts';
import { port, PROTOCOL, protocolName } from '../model/port.ts';

/** An endpoint at one of its addresses. */
export interface IpRecord {
  readonly address: Address;
  readonly identity: IdentityId;
  /** Of the node that it is on; undefined while that is not known. */
  readonly nodeAddress: Address | undefined;
  readonly namespace: string;
  /** Of the pod. */
  readonly name: string;
  readonly namedPorts: readonly { readonly name: string; readonly port: number; readonly protocol: number }[];
}

type Json = Readonly<Record<string, unknown>>;

/** An IPIdentityPair. */
export function encodeIp({ address, identity, nodeAddress, namespace, name, namedPorts }: IpRecord): string {
  return JSON.stringify({
    IP: formatAddress(address),
    Mask: null,
    HostIP: nodeAddress === undefined ? '' : formatAddress(nodeAddress),
    ID: identity,
    Key: 0,
    Metadata: '',
    ...(namespace !== '' && { K8sNamespace: namespace }),
    ...(name !== '' && { K8sPodName: name }),
    ...(namedPorts.length > 0 && {
      NamedPorts: namedPorts.map((item) => ({
        Name: item.name,
        Port: item.port,
        Protocol: protocolName(item.protocol),
      })),
    }),
  });
}

/** Undefined for a prefix: those are no endpoints. @throws WeirError RESOURCE_INVALID */
export function decodeIp(key: string, value: string): IpRecord | undefined {
  return decoded(key, () => {
    const pair = objectOf(JSON.parse(value));
    if (pair['Mask'] !== null && pair['Mask'] !== undefined && pair['Mask'] !== '') return undefined;
    const id = pair['ID'];
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id > 0xffffffff)
      throw new Error('ID: no identity');
    return {
      address: parseAddress(textOf(pair['IP'])),
      identity: identityId(id),
      nodeAddress: optionalAddress(pair['HostIP']),
      namespace: textOf(pair['K8sNamespace']),
      name: textOf(pair['K8sPodName']),
      namedPorts: listOf(pair['NamedPorts']).map((item) => ({
        name: textOf(item['Name']),
        port: port(Number(item['Port'])),
        protocol: protocolOf(textOf(item['Protocol'])),
      })),
    };
  });
}

/** A node, as it announces itself. */
export interface NodeRecord extends ClusterNode {
  readonly cluster: string;
  readonly labels: ReadonlyMap<string, string>;
}

export function encodeNode({ name, cluster, addresses, podCidrs, health, ingress, labels }: NodeRecord): string {
  const cidr = (family: 4 | 6) => {
    const found = podCidrs.find(({ address }) => address.family === family);
    return found === undefined ? null : cidrJson(found);
  };
  const text = (list: readonly Address[], family: 4 | 6): string => {
    const found = list.find((address) => address.family === family);
    return found === undefined ? '' : formatAddress(found);
  };
  return JSON.stringify({
    Name: name,
    Cluster: cluster,
    IPAddresses: addresses.map(({ type, address }) => ({ Type: type, IP: formatAddress(address) })),
    IPv4AllocCIDR: cidr(4),
    IPv4SecondaryAllocCIDRs: null,
    IPv6AllocCIDR: cidr(6),
    IPv6SecondaryAllocCIDRs: null,
    IPv4HealthIP: text(health, 4),
    IPv6HealthIP: text(health, 6),
    IPv4IngressIP: text(ingress, 4),
    IPv6IngressIP: text(ingress, 6),
    ClusterID: 0,
    Source: 'local',
    EncryptionKey: 0,
    Labels: Object.fromEntries(labels),
    Annotations: null,
    NodeIdentity: 1,
    WireguardPubKey: '',
  });
}

/** @throws WeirError RESOURCE_INVALID */
export function decodeNode(key: string, value: string): ClusterNode {
  return decoded(key, () => {
    const node = objectOf(JSON.parse(value));
    const cidrs = (...names: string[]): Cidr[] =>
      names.flatMap((name) => {
        const item = node[name];
        const items = Array.isArray(item) ? item : [item];
        return items.filter((one) => one !== null && one !== undefined).map(parseCidrJson);
      });
    const some = (...names: string[]): Address[] => names.flatMap((name) => optionalAddress(node[name]) ?? []);
    return {
      name: textOf(node['Name']),
      addresses: listOf(node['IPAddresses']).flatMap(nodeAddress),
      podCidrs: cidrs('IPv4AllocCIDR', 'IPv6AllocCIDR', 'IPv4SecondaryAllocCIDRs', 'IPv6SecondaryAllocCIDRs'),
      health: some('IPv4HealthIP', 'IPv6HealthIP'),
      ingress: some('IPv4IngressIP', 'IPv6IngressIP'),
    };
  });
}

/** Types that Weir has no use for hold no address or none that packets carry. */
function nodeAddress(item: Json): NodeAddress[] {
  const type = NODE_ADDRESS_TYPES.find((known) => known === item['Type']);
  return type === undefined ? [] : [{ type, address: parseAddress(textOf(item['IP'])) }];
}

/** A prefix as Go writes it: an address, and as many set bits as it is long. */
function cidrJson({ address, length }: Cidr): object {
  const ones: Address = { family: address.family, bytes: new Uint8Array(address.bytes.length).fill(0xff) };
  return { IP: formatAddress(address), Mask: Buffer.from(maskAddress(ones, length).bytes).toString('base64') };
}

function parseCidrJson(json: unknown): Cidr {
  const { IP, Mask } = objectOf(json);
  const bits = [...Buffer.from(textOf(Mask), 'base64')].map((byte) => byte.toString(2).padStart(8, '0')).join('');
  const length = bits.indexOf('0') < 0 ? bits.length : bits.indexOf('0');
  return parseCidr(`${textOf(IP)}/${length}`);
}

function optionalAddress(value: unknown): Address | undefined {
  return value === undefined || value === null || value === '' ? undefined : parseAddress(textOf(value));
}

function protocolOf(name: string): number {
  const found = Object.entries(PROTOCOL).find(([known]) => known === name.toUpperCase());
  if (found === undefined) throw new Error(`${JSON.stringify(name)} is no protocol`);
  return found[1];
}

const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');
const listOf = (value: unknown): Json[] => (Array.isArray(value) ? value.map(objectOf) : []);

function objectOf(value: unknown): Json {
  if (typeof value !== 'object' || value === null) throw new Error('is no object');
  return value as Json;
}

function decoded<T>(key: string, decode: () => T): T {
  try {
    return decode();
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new WeirError('RESOURCE_INVALID', `cannot be read: ${message}`, { object: `key ${key}`, cause });
  }
}
