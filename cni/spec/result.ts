import { objectField, objectListField, stringField, stringListField, wrongField, type Fields } from './fields.ts';
import { atLeast, type SpecVersion } from './version.ts';

/** Result of ADD, in the terms of the newest specification. */
export interface Result {
  readonly interfaces: readonly Interface[];
  readonly ips: readonly Ip[];
  readonly routes: readonly Route[];
  readonly dns: Dns;
}

export interface Interface {
  readonly name: string;
  readonly mac?: string;
  /** Bytes; since 1.1.0. */
  readonly mtu?: number;
  /** Path of the network namespace; absent for an interface on the host. */
  readonly sandbox?: string;
}

export interface Ip {
  /** `address/length`. */
  readonly address: string;
  readonly gateway?: string;
  /** Index into {@link Result.interfaces}. */
  readonly interface?: number;
}

export interface Route {
  readonly dst: string;
  readonly gw?: string;
  /** Scope as rtnetlink numbers it (253: the destination is on the link); since 1.1.0. */
  readonly scope?: number;
}

export interface Dns {
  readonly nameservers?: readonly string[];
  readonly domain?: string;
  readonly search?: readonly string[];
  readonly options?: readonly string[];
}

/** The result's JSON for stdout, one line, in the form of `version`. */
export function encodeResult(result: Result, version: SpecVersion): string {
  const newest = atLeast(version, '1.1.0');
  return JSON.stringify({
    cniVersion: version,
    interfaces: result.interfaces.map(({ mtu, ...link }) => ({ ...link, ...(newest && mtu !== undefined && { mtu }) })),
    // Up to 0.4.0 every address says its family.
    ips: atLeast(version, '1.0.0')
      ? result.ips
      : result.ips.map((ip) => ({ version: ip.address.includes(':') ? '6' : '4', ...ip })),
    routes: newest ? result.routes : result.routes.map(({ scope: _, ...route }) => route),
    dns: result.dns,
  });
}

/**
 * Decodes a `prevResult` of any supported version; what a version adds is optional.
 *
 * @throws CniError invalidConfig
 */
export function decodeResult(fields: Fields): Result {
  const interfaces = (objectListField(fields, 'interfaces') ?? []).map(decodeInterface);
  return {
    interfaces,
    ips: (objectListField(fields, 'ips') ?? []).map((ip) => decodeIp(ip, interfaces.length)),
    routes: (objectListField(fields, 'routes') ?? []).map(decodeRoute),
    dns: decodeDns(objectField(fields, 'dns')),
  };
}

/** @throws CniError invalidConfig */
export function decodeDns(fields: Fields | undefined): Dns {
  if (fields === undefined) return {};
  return withoutAbsent({
    nameservers: stringListField(fields, 'nameservers'),
    domain: stringField(fields, 'domain'),
    search: stringListField(fields, 'search'),
    options: stringListField(fields, 'options'),
  });
}

function decodeInterface(fields: Fields): Interface {
  const { mtu } = fields.values;
  return {
    name: required(fields, 'name'),
    ...withoutAbsent({ mac: stringField(fields, 'mac'), sandbox: stringField(fields, 'sandbox') }),
    ...(typeof mtu === 'number' && { mtu }),
  };
}

function decodeIp(fields: Fields, interfaces: number): Ip {
  const index = fields.values['interface'] ?? undefined;
  if (index !== undefined && !(Number.isInteger(index) && (index as number) >= 0 && (index as number) < interfaces)) {
    throw wrongField(`${fields.path}.interface`, index, 'the index of one of the interfaces');
  }
  return {
    address: required(fields, 'address'),
    ...withoutAbsent({ gateway: stringField(fields, 'gateway'), interface: index as number | undefined }),
  };
}

function decodeRoute(fields: Fields): Route {
  return { dst: required(fields, 'dst'), ...withoutAbsent({ gw: stringField(fields, 'gw') }) };
}

function required(fields: Fields, key: string): string {
  const value = stringField(fields, key);
  if (value === undefined || value === '') {
    throw wrongField(`${fields.path}.${key}`, value, 'a text that is not empty');
  }
  return value;
}

/** A copy without the fields that are undefined. */
function withoutAbsent<T extends object>(value: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter((entry) => entry[1] !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}
