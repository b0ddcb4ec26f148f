/** From a request to what answers it: who asks, whether they may, and which verb it is. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { parse as parseYaml } from 'yaml';
import { deleteObject, readDeleteOptions } from './deletion.ts';
import { discovery, SERVER_VERSION } from './discovery.ts';
import { list } from './list.ts';
import { textAt, type Json, type KubeObject } from './object.ts';
import { openApiDocument, openApiIndex } from './openapi.ts';
import { applied } from './patch/apply.ts';
import { APPLY_PATCH, patched } from './patch/patch.ts';
import { decodeProtobuf } from './protobuf.ts';
import type { Rbac } from './rbac.ts';
import { readRequest, type RequestInfo } from './request.ts';
import { apiVersionOf, type Registry, type ResourceType } from './resource-type.ts';
import type { Rest, WriteOptions } from './rest.ts';
import { ApiError, badRequest, conflict, methodNotAllowed, noSuchPath, notFound } from './status.ts';
import type { Store } from './store.ts';
import { bindPod, issueToken, rescaled, review, scaleOf } from './subresources.ts';
import { acceptedForm, asTable, partial, type Form } from './table.ts';
import type { User, Users } from './users.ts';
import { jsonOf, Watch, type WatchSettings } from './watch.ts';

export interface Cluster {
  readonly store: Store;
  readonly registry: Registry;
  readonly rest: Rest;
  readonly rbac: Rbac;
  readonly users: Users;
  readonly watchSettings: WatchSettings;
}

/** An answer that is not a stream. */
export interface Answer {
  readonly code: number;
  readonly body: string;
  readonly contentType?: string;
  readonly warnings?: readonly string[];
}

export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly info: RequestInfo;
  readonly user: User;
  readonly body: Buffer;
  /** Revisions by which reads from memory lag. */
  readonly behind: number;
  readonly onWatch: (watch: Watch) => void;
}

const json = (value: unknown, code = 200, warnings: readonly string[] = []): Answer => ({
  code,
  body: JSON.stringify(value),
  warnings,
});

/** Answers a request; undefined when a watch streams the answer itself. */
export async function handle(cluster: Cluster, asked: Exchange): Promise<Answer | undefined> {
  const { info, user } = asked;
  cluster.rbac.authorize(user, info);
  if (!info.isResource) return documents(cluster, asked);
  const type = cluster.registry.find(info.group, info.version, info.plural);
  if (type === undefined || (type.namespaced && info.namespace === '' && info.name !== '')) throw noSuchPath();
  if (!type.namespaced && info.namespace !== '' && info.plural !== 'namespaces') throw noSuchPath();
  // RBAC sees a namespace as being in itself; where it is stored it is in none.
  const exchange = type.namespaced ? asked : { ...asked, info: { ...info, namespace: '' } };
  if (info.subresource !== '') return subresource(cluster, exchange, type);
  const form = acceptedForm(exchange.request.headers.accept);
  if (!type.verbs.includes(info.verb)) throw methodNotAllowed();
  switch (info.verb) {
    case 'watch':
      watch(cluster, exchange, type, form);
      return undefined;
    case 'list':
      return answerList(cluster, exchange, type, form);
    case 'get':
      return answerObject(type, readOne(cluster, exchange, type), form, exchange);
    case 'deletecollection':
      return deleteCollection(cluster, exchange, type);
    default:
      return write(cluster, exchange, type, form);
  }
}

function documents({ registry }: Cluster, { info, request }: Exchange): Answer {
  const accept = request.headers.accept ?? '';
  if (['/healthz', '/livez', '/readyz'].some((path) => info.path === path || info.path.startsWith(`${path}/`)))
    return { code: 200, body: 'ok', contentType: 'text/plain; charset=utf-8' };
  if (info.path === '/version') return json(SERVER_VERSION);
  if (info.path === '/openapi/v3') return json(openApiIndex(registry));
  const document = info.path.startsWith('/openapi/v3/')
    ? openApiDocument(registry, info.path.slice('/openapi/v3/'.length))
    : discovery(registry, info.path, accept, request.headers.host ?? '');
  if (document === undefined) throw noSuchPath();
  if (!('items' in document) || document['kind'] !== 'APIGroupDiscoveryList') return json(document);
  return { ...json(document), contentType: 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList' };
}

function watch(cluster: Cluster, exchange: Exchange, type: ResourceType, form: Form): void {
  const { info, user, response } = exchange;
  const stream = new Watch(cluster.store, type, info.namespace, user.name, info.query, form, response);
  exchange.onWatch(stream);
  stream.start(info.query, cluster.watchSettings);
}

function readOne({ rest, store }: Cluster, { info, behind }: Exchange, type: ResourceType): KubeObject {
  const cached = info.query.get('resourceVersion') === '0';
  return rest.get(
    type,
    info.namespace,
    info.name,
    cached && behind > 0 ? Math.max(store.revision - behind, store.compacted) : Infinity,
  );
}

async function answerList(
  cluster: Cluster,
  { info, behind }: Exchange,
  type: ResourceType,
  form: Form,
): Promise<Answer> {
  const { items, metadata } = await list(cluster.store, type, info.namespace, info.query, behind);
  if (form.as === 'Table') return json(asTable(type, items, metadata, form, info.query.get('includeObject')));
  if (form.as === 'PartialObjectMetadata')
    return json({
      kind: 'PartialObjectMetadataList',
      apiVersion: `meta.k8s.io/${form.version}`,
      metadata,
      items: items.map((item) => partial(item, form.version)),
    });
  const head = JSON.stringify({ kind: type.listKind, apiVersion: apiVersionOf(type), metadata });
  return { code: 200, body: `${head.slice(0, -1)},"items":[${items.map(jsonOf).join(',')}]}` };
}

function answerObject(
  type: ResourceType,
  object: KubeObject,
  form: Form,
  { info }: Exchange,
  code = 200,
  warnings: readonly string[] = [],
): Answer {
  if (form.as === 'Table')
    return json(
      asTable(
        type,
        [object],
        { resourceVersion: object.metadata.resourceVersion },
        form,
        info.query.get('includeObject'),
      ),
      code,
      warnings,
    );
  if (form.as === 'PartialObjectMetadata') return json(partial(object, form.version), code, warnings);
  return { code, body: jsonOf(object), warnings };
}

/** The body as JSON; undefined when there is none. */
function readBody({ request, body }: Exchange): unknown {
  if (body.length === 0) return undefined;
  const contentType = contentTypeOf(request);
  if (contentType === 'application/vnd.kubernetes.protobuf') return decodeProtobuf(body);
  try {
    return contentType.endsWith('yaml') ? parseYaml(body.toString()) : JSON.parse(body.toString());
  } catch (error) {
    throw badRequest(
      `couldn't get version/kind; json parse error: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

const contentTypeOf = (request: IncomingMessage): string =>
  (request.headers['content-type'] ?? '').split(';')[0]!.trim();

function writeOptions({ info, request }: Exchange): WriteOptions {
  const { query } = info;
  const validation = query.get('fieldValidation') ?? 'Warn';
  if (!['Strict', 'Warn', 'Ignore'].includes(validation))
    throw badRequest(
      `fieldValidation: Unsupported value: "${validation}": supported values: "Ignore", "Strict", "Warn"`,
    );
  return {
    dryRun: query.get('dryRun') === 'All',
    fieldManager: query.get('fieldManager') ?? (request.headers['user-agent'] ?? 'unknown').split('/')[0]!,
    fieldValidation: validation as WriteOptions['fieldValidation'],
    subresource: info.subresource,
    warnings: [],
  };
}

function write(cluster: Cluster, exchange: Exchange, type: ResourceType, form: Form): Answer {
  const { rest } = cluster;
  const { info, request } = exchange;
  const options = writeOptions(exchange);
  switch (info.verb) {
    case 'create': {
      if (info.name !== '') throw methodNotAllowed();
      const body = readBody(exchange);
      if (!type.verbs.includes('get'))
        return json(review(type.kind, body, exchange.user, cluster.rbac, cluster.users, options), 201);
      return answerObject(
        type,
        rest.create(type, info.namespace, body, options),
        form,
        exchange,
        201,
        options.warnings,
      );
    }
    case 'update': {
      const existed = rest.find(type, info.namespace, info.name) !== undefined;
      return answerObject(
        type,
        rest.update(type, info.namespace, info.name, readBody(exchange), options),
        form,
        exchange,
        existed ? 200 : 201,
        options.warnings,
      );
    }
    case 'patch': {
      const { object, created } = patch(cluster, exchange, type, contentTypeOf(request), options);
      return answerObject(type, object, form, exchange, created ? 201 : 200, options.warnings);
    }
    default: {
      const object = rest.get(type, info.namespace, info.name);
      return json(deleteObject(rest, type, object, readDeleteOptions(readBody(exchange), info.query)));
    }
  }
}

function patch(
  { rest }: Cluster,
  exchange: Exchange,
  type: ResourceType,
  contentType: string,
  options: WriteOptions,
): { object: KubeObject; created: boolean } {
  const { info } = exchange;
  const body = contentType === APPLY_PATCH ? (parseYaml(exchange.body.toString()) as unknown) : readBody(exchange);
  const old = rest.find(type, info.namespace, info.name);
  if (contentType === APPLY_PATCH) {
    if (!info.query.has('fieldManager'))
      throw badRequest(
        'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch',
      );
    const next = applied(type, old, body, { ...options, name: info.name, force: info.query.get('force') === 'true' });
    if (old !== undefined)
      return { object: rest.update(type, info.namespace, info.name, next, options, true), created: false };
    if (info.subresource !== '') throw notFound(type, info.name);
    return { object: rest.create(type, info.namespace, next, options, true), created: true };
  }
  if (old === undefined) throw notFound(type, info.name);
  const next = patched(type, old, body, contentType) as KubeObject;
  const version = textAt(next, 'metadata', 'resourceVersion');
  if (version !== '' && version !== old.metadata.resourceVersion)
    throw conflict(
      type,
      info.name,
      'the object has been modified; please apply your changes to the latest version and try again',
    );
  const whole = { ...next, metadata: { ...next.metadata, resourceVersion: old.metadata.resourceVersion } };
  return { object: rest.update(type, info.namespace, info.name, whole, options), created: false };
}

async function deleteCollection({ store, rest }: Cluster, exchange: Exchange, type: ResourceType): Promise<Answer> {
  const { info } = exchange;
  const options = readDeleteOptions(readBody(exchange), info.query);
  const { items, metadata } = await list(store, type, info.namespace, info.query);
  for (const item of items) deleteObject(rest, type, item, options);
  return json({ kind: type.listKind, apiVersion: apiVersionOf(type), metadata, items });
}

function subresource(cluster: Cluster, exchange: Exchange, type: ResourceType): Answer {
  const { rest, users } = cluster;
  const { info, request } = exchange;
  const options = writeOptions(exchange);
  const { status, scale, others } = type.subresources;
  const form = acceptedForm(request.headers.accept);
  if (info.subresource === 'status' && status) {
    if (info.verb === 'get') return answerObject(type, readOne(cluster, exchange, type), form, exchange);
    if (info.verb === 'update')
      return answerObject(
        type,
        rest.update(type, info.namespace, info.name, readBody(exchange), options),
        form,
        exchange,
        200,
        options.warnings,
      );
    if (info.verb === 'patch')
      return answerObject(
        type,
        patch(cluster, exchange, type, contentTypeOf(request), options).object,
        form,
        exchange,
        200,
        options.warnings,
      );
    throw methodNotAllowed();
  }
  if (info.subresource === 'scale' && scale !== undefined) return answerScale(cluster, exchange, type, options);
  const other = others?.[info.subresource];
  if (other === undefined) throw noSuchPath();
  if (!other.verbs.includes(info.verb)) throw methodNotAllowed();
  const object = rest.get(type, info.namespace, info.name);
  switch (info.subresource) {
    case 'binding':
      bindPod(type, rest, object, readBody(exchange));
      return json(success201(), 201);
    case 'eviction':
      deleteObject(
        rest,
        type,
        object,
        readDeleteOptions((readBody(exchange) as Json | undefined)?.['deleteOptions'], info.query),
      );
      return json(success201(), 201);
    case 'token':
      return json(issueToken(users, info.namespace, info.name, readBody(exchange)), 201);
    default:
      return json(rest.update(type, '', info.name, readBody(exchange), options));
  }
}

const success201 = (): Json => ({ kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', code: 201 });

function answerScale({ rest }: Cluster, exchange: Exchange, type: ResourceType, options: WriteOptions): Answer {
  const { info, request } = exchange;
  const object = rest.get(type, info.namespace, info.name);
  if (info.verb === 'get') return json(scaleOf(type, object));
  const current = scaleOf(type, object) as KubeObject;
  const scale =
    info.verb === 'patch'
      ? patched({ ...type, custom: true }, current, readBody(exchange), contentTypeOf(request))
      : readBody(exchange);
  const plain = { ...options, subresource: '' };
  return json(scaleOf(type, rest.update(type, info.namespace, info.name, rescaled(type, object, scale), plain)));
}

/** A request's attributes, or the failure of reading them. */
export function infoOf(request: IncomingMessage): RequestInfo {
  try {
    return readRequest(request.method ?? 'GET', request.url ?? '/');
  } catch (error) {
    if (error instanceof URIError || error instanceof TypeError) throw badRequest(error.message);
    throw error;
  }
}

export function failure(error: unknown): Answer {
  if (error instanceof ApiError) return { code: error.code, body: JSON.stringify(error.status()) };
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return json(new ApiError(500, 'InternalError', `Internal error occurred: ${text}`).status(), 500);
}
