/** What all Kubernetes objects have in common: `metadata`. */
import { resourceName, type Resource, type ResourceKind } from '../model/resource.ts';
import { dnsLabelFault, dnsSubdomainFault } from './dns-name.ts';
import { KINDS } from './kinds.ts';

export type ObjectName = Pick<Resource, 'namespace' | 'name' | 'uid'>;

/** One fault of an object, in the terms of its author. */
export interface MetadataFault {
  readonly field: string;
  readonly message: string;
  /** The object as far as it could be named. */
  readonly object: string;
}

export type DecodedMetadata =
  { readonly ok: true; readonly value: ObjectName } | ({ readonly ok: false } & MetadataFault);

/** Validates the metadata of an object as far as every consumer relies on it: names, labels and annotations. */
export function decodeMetadata(kind: ResourceKind, metadata: unknown): DecodedMetadata {
  if (!isRecord(metadata))
    return { ok: false, object: kind, field: 'metadata', message: wanted(metadata, 'a mapping') };
  const { name, namespace, uid } = metadata;
  if (typeof name !== 'string' || name === '') {
    return { ok: false, object: kind, field: 'metadata.name', message: wanted(name, 'a string') };
  }
  const object = resourceName({ kind, namespace: typeof namespace === 'string' ? namespace : '', name });
  const fault =
    nameFault(kind, name) ??
    namespaceFault(kind, namespace) ??
    (uid === undefined || typeof uid === 'string'
      ? undefined
      : { field: 'metadata.uid', message: wanted(uid, 'a string') }) ??
    stringMapFault('metadata.labels', metadata['labels']) ??
    stringMapFault('metadata.annotations', metadata['annotations']);
  if (fault !== undefined) return { ok: false, object, ...fault };
  // `kubectl apply` puts an object that names no namespace into `default`.
  const effective = typeof namespace === 'string' && namespace !== '' ? namespace : 'default';
  return {
    ok: true,
    value: { namespace: KINDS[kind].namespaced ? effective : '', name, uid: typeof uid === 'string' ? uid : '' },
  };
}

type Fault = Pick<MetadataFault, 'field' | 'message'>;

function nameFault(kind: ResourceKind, name: string): Fault | undefined {
  const fault = KINDS[kind].nameForm === 'label' ? dnsLabelFault(name) : dnsSubdomainFault(name);
  return fault === undefined ? undefined : { field: 'metadata.name', message: `${JSON.stringify(name)} ${fault}` };
}

function namespaceFault(kind: ResourceKind, namespace: unknown): Fault | undefined {
  const field = 'metadata.namespace';
  if (namespace === undefined || namespace === null || namespace === '') return undefined;
  if (typeof namespace !== 'string') return { field, message: wanted(namespace, 'a string') };
  if (!KINDS[kind].namespaced) return { field, message: `must not be set: a ${kind} belongs to no namespace` };
  const fault = dnsLabelFault(namespace);
  return fault === undefined ? undefined : { field, message: `${JSON.stringify(namespace)} ${fault}` };
}

function stringMapFault(field: string, map: unknown): Fault | undefined {
  if (map === undefined || map === null) return undefined;
  if (!isRecord(map)) return { field, message: wanted(map, 'a mapping') };
  // `key:` without a value is null here and the empty string to an API server.
  const bad = Object.entries(map).find(([, value]) => typeof value !== 'string' && value !== null);
  if (bad === undefined) return undefined;
  return {
    field: `${field}[${JSON.stringify(bad[0])}]`,
    message: `must be a string, not ${JSON.stringify(bad[1])}: put it in quotes`,
  };
}

/** `is missing`, or what stands there instead of what is wanted. */
export function wanted(value: unknown, what: string): string {
  return value === undefined || value === '' ? 'is missing' : `must be ${what}, not ${JSON.stringify(value)}`;
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
