/** Lists in the forms that clients ask for: plain, as a table of printer columns, or with metadata alone. */
import { isObject, type Json, type KubeObject } from './object.ts';
import { notAcceptable } from './status.ts';
import type { ResourceType } from './resource-type.ts';

export interface Form {
  readonly as: 'object' | 'Table' | 'PartialObjectMetadata';
  /** Version of meta.k8s.io. */
  readonly version: string;
}

const SERVED = ['application/json', 'application/yaml', 'application/vnd.kubernetes.protobuf'];

/** Reads an Accept header: the first form that this server can give. Protobuf is not served, as for custom resources. */
export function acceptedForm(accept: string | undefined): Form {
  const plain: Form = { as: 'object', version: 'v1' };
  if (accept === undefined || accept === '') return plain;
  for (const range of accept.split(',')) {
    const [type, ...parameters] = range.split(';').map((part) => part.trim());
    if (!['application/json', '*/*', 'application/*'].includes(type!)) continue;
    const given = new Map(parameters.map((parameter) => parameter.split('=') as [string, string]));
    const as = given.get('as');
    if (as === undefined) return plain;
    if (given.get('g') !== 'meta.k8s.io' || !['v1', 'v1beta1'].includes(given.get('v') ?? '')) continue;
    if (as === 'Table') return { as, version: given.get('v')! };
    if (as === 'PartialObjectMetadata' || as === 'PartialObjectMetadataList')
      return { as: 'PartialObjectMetadata', version: given.get('v')! };
  }
  throw notAcceptable(SERVED);
}

export function asTable(
  type: ResourceType,
  objects: readonly KubeObject[],
  listMeta: Json,
  form: Form,
  include: string | null,
  header = true,
): Json {
  return {
    kind: 'Table',
    apiVersion: `meta.k8s.io/${form.version}`,
    metadata: listMeta,
    columnDefinitions: header
      ? type.columns.map(({ name, type, format, description, priority }) => ({
          name,
          type,
          format: format ?? '',
          description: description ?? '',
          priority,
        }))
      : null,
    rows: objects.map((object) => ({
      cells: type.columns.map((column) => cellOf(column.cell(object))),
      ...(include === 'None' ? {} : { object: include === 'Object' ? object : partial(object, form.version) }),
    })),
  };
}

function cellOf(value: unknown): unknown {
  if (value === undefined || value === null) return null;
  return isObject(value) || Array.isArray(value) ? JSON.stringify(value) : value;
}

export function partial(object: KubeObject, version: string): Json {
  return { kind: 'PartialObjectMetadata', apiVersion: `meta.k8s.io/${version}`, metadata: object.metadata };
}
