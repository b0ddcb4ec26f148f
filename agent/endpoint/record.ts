import { formatAddress, parseAddress } from '../model/address.ts';
import type { EndpointLink } from '../model/datapath.ts';
import { endpointId, ifIndex, type EndpointId } from '../model/endpoint.ts';
import { identityId, type Identity } from '../model/identity.ts';
import { canonicalLabels, formatLabel, parseLabel, type Label } from '../model/labels.ts';
import { formatMac, parseMac } from '../model/mac.ts';
import type { Addressing } from '../ipam/ipam.ts';
import type { Attachment, Endpoint, EndpointLabels, EndpointOptions } from './endpoint.ts';

/** What a restarted agent must know of an endpoint to take it up again. */
export interface EndpointRecord {
  readonly id: EndpointId;
  readonly attachment: Attachment;
  readonly addressing: Addressing;
  readonly mtu: number;
  readonly createdAt: number;
  readonly link: EndpointLink;
  readonly identity: Identity;
  readonly labels: Pick<EndpointLabels, 'origin' | 'derived' | 'user'>;
  readonly options: EndpointOptions;
}

/** The record of an endpoint that has its link and identity. */
export function recordOf(endpoint: Endpoint, link: EndpointLink, identity: Identity): EndpointRecord {
  const { id, attachment, addressing, mtu, createdAt, labels, options } = endpoint;
  return { id, attachment, addressing, mtu, createdAt, link, identity, labels, options };
}

const VERSION = 1;

/** JSON form of a record. */
export function encodeRecord(record: EndpointRecord): Readonly<Record<string, unknown>> {
  const { id, attachment, addressing, mtu, createdAt, link, identity, labels, options } = record;
  return {
    version: VERSION,
    id,
    attachment,
    ...(addressing.ipv4 && { ipv4: formatAddress(addressing.ipv4) }),
    ...(addressing.ipv6 && { ipv6: formatAddress(addressing.ipv6) }),
    mtu,
    createdAt,
    link: { ...link, hostMac: formatMac(link.hostMac), containerMac: formatMac(link.containerMac) },
    identity: { id: identity.id, labels: identity.labels.map(formatLabel) },
    labels: {
      origin: labels.origin,
      derived: labels.derived.map(formatLabel),
      user: labels.user.map(formatLabel),
    },
    options,
  };
}

/** @throws Error naming the field that is missing or of another type. */
export function decodeRecord(json: unknown): EndpointRecord {
  const top = new Fields(json, '');
  if (top.number('version') !== VERSION) throw new Error(`version must be ${VERSION}`);
  const addressing: Addressing = {
    ...(top.has('ipv4') && { ipv4: parseAddress(top.text('ipv4')) }),
    ...(top.has('ipv6') && { ipv6: parseAddress(top.text('ipv6')) }),
  };
  const identity = top.object('identity');
  const labels = top.object('labels');
  return {
    id: endpointId(top.number('id', 1, 65535)),
    attachment: decodeAttachment(top.object('attachment')),
    addressing,
    mtu: top.number('mtu'),
    createdAt: top.number('createdAt'),
    link: decodeLink(top.object('link')),
    identity: { id: identityId(identity.number('id')), labels: canonicalLabels(identity.labels('labels')) },
    labels: {
      origin: labels.oneOf('origin', ['pod', 'request', 'init']),
      derived: labels.labels('derived'),
      user: labels.labels('user'),
    },
    options: { auditMode: top.object('options').flag('auditMode') },
  };
}

function decodeAttachment(fields: Fields): Attachment {
  return {
    containerId: fields.text('containerId'),
    containerIfName: fields.text('containerIfName'),
    netns: fields.text('netns'),
    namespace: fields.text('namespace'),
    podName: fields.text('podName'),
    ...(fields.has('containerName') && { containerName: fields.text('containerName') }),
    ...(fields.has('podUid') && { podUid: fields.text('podUid') }),
  };
}

function decodeLink(fields: Fields): EndpointLink {
  return {
    hostIfName: fields.text('hostIfName'),
    hostIfIndex: ifIndex(fields.number('hostIfIndex', 1)),
    hostMac: parseMac(fields.text('hostMac')),
    containerIfName: fields.text('containerIfName'),
    containerIfIndex: ifIndex(fields.number('containerIfIndex', 1)),
    containerMac: parseMac(fields.text('containerMac')),
    netnsInode: fields.number('netnsInode'),
  };
}

/** Typed access to the fields of a JSON object; what does not fit is an error that names the path. */
class Fields {
  readonly #json: Readonly<Record<string, unknown>>;
  readonly #path: string;

  constructor(json: unknown, path: string) {
    if (typeof json !== 'object' || json === null) throw new Error(`${path === '' ? 'it' : path} must be an object`);
    this.#json = json as Record<string, unknown>;
    this.#path = path;
  }

  has(name: string): boolean {
    return this.#json[name] !== undefined;
  }

  text(name: string): string {
    const value = this.#json[name];
    return typeof value === 'string' ? value : this.#fail(name, 'a text');
  }

  flag(name: string): boolean {
    const value = this.#json[name];
    return typeof value === 'boolean' ? value : this.#fail(name, 'true or false');
  }

  number(name: string, first = 0, last = Number.MAX_SAFE_INTEGER): number {
    const value = this.#json[name];
    if (typeof value === 'number' && Number.isInteger(value) && value >= first && value <= last) return value;
    return this.#fail(name, `a whole number from ${first} to ${last}`);
  }

  oneOf<T extends string>(name: string, values: readonly T[]): T {
    return values.find((value) => value === this.#json[name]) ?? this.#fail(name, values.join(' or '));
  }

  object(name: string): Fields {
    return new Fields(this.#json[name], `${this.#path}${this.#path === '' ? '' : '.'}${name}`);
  }

  labels(name: string): Label[] {
    const value = this.#json[name];
    if (!Array.isArray(value)) return this.#fail(name, 'a list of labels');
    return value.map((item) => (typeof item === 'string' ? parseLabel(item) : this.#fail(name, 'a list of labels')));
  }

  #fail(name: string, expected: string): never {
    throw new Error(`${this.#path}${this.#path === '' ? '' : '.'}${name} must be ${expected}`);
  }
}
