/**
 * Kubernetes' protobuf envelope and the messages that kubectl's typed clients send in it. Field numbers are those of the
 * published `generated.proto` files.
 */
import type { Json } from './object.ts';
import { unsupportedMediaType } from './status.ts';

const MAGIC = Buffer.from('k8s\0');

type Field =
  | { readonly name: string; readonly kind: 'string' | 'bytes' | 'int' | 'bool' | 'time'; readonly list?: true }
  | { readonly name: string; readonly kind: 'map'; readonly value: 'string' | 'bytes' }
  | { readonly name: string; readonly kind: 'message'; readonly of: string; readonly list?: true };

const text = (name: string): Field => ({ name, kind: 'string' });
const texts = (name: string): Field => ({ name, kind: 'string', list: true });
const int = (name: string): Field => ({ name, kind: 'int' });
const bool = (name: string): Field => ({ name, kind: 'bool' });
const map = (name: string, value: 'string' | 'bytes' = 'string'): Field => ({ name, kind: 'map', value });
const part = (name: string, of: string): Field => ({ name, kind: 'message', of });
const parts = (name: string, of: string): Field => ({ name, kind: 'message', of, list: true });
const META = part('metadata', 'ObjectMeta');

const MESSAGES: Readonly<Record<string, Readonly<Record<number, Field>>>> = {
  ObjectMeta: {
    1: text('name'),
    2: text('generateName'),
    3: text('namespace'),
    5: text('uid'),
    6: text('resourceVersion'),
    7: int('generation'),
    8: { name: 'creationTimestamp', kind: 'time' },
    9: { name: 'deletionTimestamp', kind: 'time' },
    10: int('deletionGracePeriodSeconds'),
    11: map('labels'),
    12: map('annotations'),
    13: parts('ownerReferences', 'OwnerReference'),
    14: texts('finalizers'),
  },
  OwnerReference: {
    1: text('kind'),
    3: text('name'),
    4: text('uid'),
    5: text('apiVersion'),
    6: bool('controller'),
    7: bool('blockOwnerDeletion'),
  },
  Namespace: { 1: META, 2: part('spec', 'NamespaceSpec'), 3: part('status', 'NamespaceStatus') },
  NamespaceSpec: { 1: texts('finalizers') },
  NamespaceStatus: { 1: text('phase') },
  ConfigMap: { 1: META, 2: map('data'), 3: map('binaryData', 'bytes'), 4: bool('immutable') },
  Secret: { 1: META, 2: map('data', 'bytes'), 3: text('type'), 4: map('stringData'), 5: bool('immutable') },
  ServiceAccount: { 1: META, 4: bool('automountServiceAccountToken') },
  Role: { 1: META, 2: parts('rules', 'PolicyRule') },
  ClusterRole: { 1: META, 2: parts('rules', 'PolicyRule') },
  PolicyRule: {
    1: texts('verbs'),
    2: texts('apiGroups'),
    3: texts('resources'),
    4: texts('resourceNames'),
    5: texts('nonResourceURLs'),
  },
  RoleBinding: { 1: META, 2: parts('subjects', 'Subject'), 3: part('roleRef', 'RoleRef') },
  ClusterRoleBinding: { 1: META, 2: parts('subjects', 'Subject'), 3: part('roleRef', 'RoleRef') },
  Subject: { 1: text('kind'), 2: text('apiGroup'), 3: text('name'), 4: text('namespace') },
  RoleRef: { 1: text('apiGroup'), 2: text('kind'), 3: text('name') },
  SelfSubjectAccessReview: { 1: META, 2: part('spec', 'SelfSubjectAccessReviewSpec') },
  SelfSubjectAccessReviewSpec: {
    1: part('resourceAttributes', 'ResourceAttributes'),
    2: part('nonResourceAttributes', 'NonResourceAttributes'),
  },
  ResourceAttributes: {
    1: text('namespace'),
    2: text('verb'),
    3: text('group'),
    4: text('version'),
    5: text('resource'),
    6: text('subresource'),
    7: text('name'),
  },
  NonResourceAttributes: { 1: text('path'), 2: text('verb') },
  SelfSubjectRulesReview: { 1: META, 2: part('spec', 'SelfSubjectRulesReviewSpec') },
  SelfSubjectRulesReviewSpec: { 1: text('namespace') },
  SelfSubjectReview: { 1: META },
  TokenRequest: { 1: META, 2: part('spec', 'TokenRequestSpec') },
  TokenRequestSpec: { 1: texts('audiences'), 4: int('expirationSeconds') },
  Unknown: { 1: part('typeMeta', 'TypeMeta'), 2: { name: 'raw', kind: 'bytes' } },
  TypeMeta: { 1: text('apiVersion'), 2: text('kind') },
};

/** The object in a protobuf body. Throws UnsupportedMediaType for kinds whose messages are not known here. */
export function decodeProtobuf(body: Buffer): Json {
  if (!body.subarray(0, 4).equals(MAGIC))
    throw unsupportedMediaType('application/vnd.kubernetes.protobuf', ['application/json', 'application/yaml']);
  const { typeMeta, raw } = decode(body.subarray(4), 'Unknown') as {
    typeMeta: { apiVersion: string; kind: string };
    raw?: string;
  };
  if (MESSAGES[typeMeta.kind] === undefined)
    throw unsupportedMediaType(`application/vnd.kubernetes.protobuf of ${typeMeta.kind}`, [
      'application/json',
      'application/yaml',
    ]);
  return { ...typeMeta, ...decode(Buffer.from(raw ?? '', 'base64'), typeMeta.kind) };
}

function decode(buffer: Buffer, message: string): Json {
  const result: Json = {};
  const fields = MESSAGES[message]!;
  for (const { number, value } of wireFields(buffer)) {
    const field = fields[number];
    if (field === undefined) continue;
    const decoded = decodeField(field, value);
    if (field.kind === 'map') Object.assign((result[field.name] ??= {}) as Json, decoded);
    else if (field.list === true) ((result[field.name] ??= []) as unknown[]).push(decoded);
    else if (decoded !== undefined && decoded !== '') result[field.name] = decoded;
  }
  return result;
}

function decodeField(field: Field, value: Buffer | number): unknown {
  if (typeof value === 'number') return field.kind === 'bool' ? value !== 0 : value;
  switch (field.kind) {
    case 'message':
      return decode(value, field.of);
    case 'bytes':
      return value.toString('base64');
    case 'time': {
      const seconds = [...wireFields(value)].find(({ number }) => number === 1)?.value;
      // The zero time of Go is written as nothing, or as a year before the epoch.
      return typeof seconds === 'number' && seconds > 0 ? new Date(seconds * 1000).toISOString() : undefined;
    }
    case 'map': {
      const entry = [...wireFields(value)];
      const at = (n: number): Buffer => (entry.find(({ number }) => number === n)?.value ?? Buffer.alloc(0)) as Buffer;
      return { [at(1).toString()]: field.value === 'bytes' ? at(2).toString('base64') : at(2).toString() };
    }
    default:
      return value.toString();
  }
}

function* wireFields(buffer: Buffer): Generator<{ number: number; value: Buffer | number }> {
  let at = 0;
  const varint = (): number => {
    let [result, scale] = [0n, 0n];
    for (;;) {
      const byte = buffer[at++]!;
      result |= BigInt(byte & 127) << scale;
      if (byte < 128) return Number(BigInt.asIntN(64, result));
      scale += 7n;
    }
  };
  while (at < buffer.length) {
    const tag = varint();
    const [number, type] = [tag >> 3, tag & 7];
    if (type === 0) yield { number, value: varint() };
    else if (type === 2) {
      const size = varint();
      yield { number, value: buffer.subarray(at, at + size) };
      at += size;
    } else at += type === 1 ? 8 : 4;
  }
}
