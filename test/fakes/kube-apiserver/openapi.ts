/** OpenAPI v3 documents, one a group and version: what kubectl explains, and reads patch strategies from. */
import { createHash } from 'node:crypto';
import { isObject, type Json } from './object.ts';
import type { Registry, ResourceType } from './resource-type.ts';
import { apiVersionOf } from './resource-type.ts';
import { modelSchema } from './schema/models.ts';

/** `/openapi/v3`: where each document is. */
export function openApiIndex(registry: Registry): Json {
  const paths: Json = {};
  for (const [group, versions] of registry.groups()) {
    for (const version of versions) {
      const path = group === '' ? `api/${version}` : `apis/${group}/${version}`;
      const hash = createHash('sha256').update(`${path} ${registry.generation}`).digest('hex').toUpperCase();
      paths[path] = { serverRelativeURL: `/openapi/v3/${path}?hash=${hash}` };
    }
  }
  return { paths };
}

/** The document of `api/v1` or `apis/group/version`; undefined when there is no such group. */
export function openApiDocument(registry: Registry, path: string): Json | undefined {
  const types = registry.all().filter((type) => documentPath(type) === path);
  if (types.length === 0) return undefined;
  const components = new Components();
  const paths: Json = {};
  for (const type of types) {
    const reference = components.kind(type);
    for (const [template, item] of pathItems(type, reference)) paths[template] = item;
  }
  return {
    openapi: '3.0.0',
    info: { title: 'Kubernetes', version: 'v1.34.0' },
    paths,
    components: { schemas: components.schemas },
  };
}

const documentPath = ({ group, version }: ResourceType): string =>
  group === '' ? `api/${version}` : `apis/${group}/${version}`;

class Components {
  readonly schemas: Record<string, Json> = {};

  /** Adds the schema of a kind and all that it refers to; returns the reference. */
  kind(type: ResourceType): Json {
    const name = `io.k8s.${type.group === '' ? 'api.core' : type.group}.${type.version}.${type.kind}`;
    const { group, version, kind } = type;
    const own = { 'x-kubernetes-group-version-kind': [{ group, kind, version }] };
    const schema = type.schema() ?? { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
    const converted = this.#convert(schema) as Json;
    if (type.custom) {
      const properties = converted['properties'] as Json | undefined;
      converted['properties'] = {
        apiVersion: { type: 'string' },
        kind: { type: 'string' },
        ...properties,
        metadata: this.#reference('V1ObjectMeta'),
      };
    }
    this.schemas[name] = { ...converted, ...own };
    return { $ref: `#/components/schemas/${name}` };
  }

  #convert(value: unknown): unknown {
    if (Array.isArray(value)) return value.map((item) => this.#convert(item));
    if (!isObject(value)) return value;
    if (typeof value['$ref'] === 'string') {
      const { $ref, ...rest } = value;
      // Siblings of a reference count for nothing, so that the reference goes into an allOf.
      const reference = this.#reference($ref);
      return Object.keys(rest).length === 0 ? reference : { ...(this.#convert(rest) as Json), allOf: [reference] };
    }
    return Object.fromEntries(Object.entries(value).map(([field, inner]) => [field, this.#convert(inner)]));
  }

  #reference(model: string): Json {
    const name = `io.k8s.model.${model}`;
    if (this.schemas[name] === undefined) {
      this.schemas[name] = {};
      this.schemas[name] = this.#convert(modelSchema(model)) as Json;
    }
    return { $ref: `#/components/schemas/${name}` };
  }
}

const QUERY = ['dryRun', 'fieldManager', 'fieldValidation', 'force'] as const;

function pathItems(type: ResourceType, schema: Json): [string, Json][] {
  const root = `/${documentPath(type)}${type.namespaced ? '/namespaces/{namespace}' : ''}/${type.plural}`;
  const gvk = { group: type.group, version: type.version, kind: type.kind };
  const parameters = QUERY.map((name) => ({
    name,
    in: 'query',
    schema: { type: name === 'force' ? 'boolean' : 'string' },
  }));
  const content = { 'application/json': { schema } };
  const operation = (action: string, body: boolean): Json => ({
    'x-kubernetes-action': action,
    'x-kubernetes-group-version-kind': gvk,
    operationId: `${action}${apiVersionOf(type)}${type.kind}`,
    responses: { 200: { description: 'OK', content } },
    ...(body && { parameters, requestBody: { content } }),
  });
  return [
    [root, { get: operation('list', false), post: operation('post', true) }],
    [
      `${root}/{name}`,
      {
        get: operation('get', false),
        put: operation('put', true),
        patch: operation('patch', true),
        delete: operation('delete', false),
      },
    ],
  ];
}
