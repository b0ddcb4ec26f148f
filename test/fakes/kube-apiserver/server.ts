/** A Kubernetes API server for tests: real HTTP, real semantics, nothing behind it but memory. */
import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { Admission } from './admission.ts';
import { answerAdmin, isAdminPath } from './admin.ts';
import { bootstrap } from './bootstrap.ts';
import { makeCertificate, type Certificate } from './certificate.ts';
import { builtinTypes } from './builtin-types.ts';
import { Controllers } from './controllers.ts';
import { Faults, type FaultAction } from './faults.ts';
import { failure, handle, infoOf, type Answer, type Cluster } from './handler.ts';
import { kubeconfig } from './kubeconfig.ts';
import { timestamp, type Json, type KubeObject, type ManagedFieldsEntry } from './object.ts';
import { Rbac } from './rbac.ts';
import type { RequestInfo } from './request.ts';
import { Registry, type ResourceType } from './resource-type.ts';
import { Rest } from './rest.ts';
import { ApiError, tooManyRequests } from './status.ts';
import { Store } from './store.ts';
import { Users, type User } from './users.ts';
import type { Watch } from './watch.ts';

export interface KubeApiServerOptions {
  /** 0, the default: any free port. */
  readonly port?: number;
  readonly host?: string;
  /** Key and certificate of an earlier server, or false for plain HTTP, over which kubectl sends no tokens. */
  readonly tls?: Certificate | false;
  /** Further names and addresses for the certificate. */
  readonly names?: readonly string[];
  readonly adminToken?: string;
  /** Milliseconds between bookmarks; a real server takes about a minute. */
  readonly bookmarkMs?: number;
  /** How long a watch lasts that asks for no timeout. */
  readonly watchTimeoutMs?: number;
  /** How many revisions are kept before the oldest are compacted. */
  readonly history?: number;
  /** Goes on with what another server had stored: a restart. */
  readonly store?: Store;
  readonly users?: Users;
  /** Remember the requests, for tests of permissions. */
  readonly recordRequests?: boolean;
}

/** One request as it was answered. */
export interface RequestRecord {
  readonly user: string;
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
  readonly namespace: string;
  readonly name: string;
  readonly code: number;
}

/** What {@link KubeApiServer.load} knows of a kind by the first of its objects. */
interface LoadedKind {
  readonly type: ResourceType;
  readonly managedFields: ManagedFieldsEntry[];
}

export class KubeApiServer {
  readonly store: Store;
  readonly users: Users;
  readonly faults = new Faults();
  readonly requests: RequestRecord[] = [];
  readonly #options: KubeApiServerOptions;
  readonly #cluster: Cluster;
  readonly #server: Server;
  /** Undefined over plain HTTP. */
  readonly certificate: Certificate | undefined;
  readonly #loaded = new Map<string, LoadedKind>();
  #port = 0;

  constructor(options: KubeApiServerOptions = {}) {
    this.#options = options;
    this.store = options.store ?? new Store(options.history);
    this.users = options.users ?? new Users(options.adminToken);
    const registry = new Registry();
    for (const type of builtinTypes()) registry.add(type);
    const rest = new Rest(this.store, new Admission(this.store, registry));
    const watchSettings = {
      bookmarkMs: options.bookmarkMs ?? 60_000,
      timeoutMs: options.watchTimeoutMs ?? 45 * 60_000,
    };
    this.#cluster = { store: this.store, registry, rest, rbac: new Rbac(this.store), users: this.users, watchSettings };
    new Controllers(this.store, registry, rest, (error) => console.error('kube-apiserver controller:', error)).resume();
    bootstrap(this.store, registry, rest);
    const serve = (request: IncomingMessage, response: ServerResponse): void => void this.#serve(request, response);
    const hosts = [...(options.names ?? []), ...(options.host === undefined ? [] : [options.host])];
    this.certificate = options.tls === false ? undefined : (options.tls ?? makeCertificate(hosts));
    this.#server = this.certificate === undefined ? createServer(serve) : createTlsServer(this.certificate, serve);
    this.#server.keepAliveTimeout = 60_000;
    this.#server.requestTimeout = 0;
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(this.#options.port ?? 0, this.#options.host ?? '127.0.0.1', resolve);
    });
    this.#port = (this.#server.address() as AddressInfo).port;
    return this;
  }

  /** Closes all connections. What is stored can be given to another server. */
  async stop(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeAllConnections();
    await closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  get port(): number {
    return this.#port;
  }

  get url(): string {
    const host = this.#options.host ?? '127.0.0.1';
    const address = host.includes(':') ? `[${host === '::' ? '::1' : host}]` : host === '0.0.0.0' ? '127.0.0.1' : host;
    return `${this.certificate === undefined ? 'http' : 'https'}://${address}:${this.#port}`;
  }

  /** A new token of a user, such as `system:serviceaccount:kube-system:weir-agent`. */
  token(user: string, options: { groups?: readonly string[]; ttlMs?: number } = {}): string {
    return this.users.issue(user, options);
  }

  /** Text of a kubeconfig file; of the administrator unless a token is given. */
  kubeconfig(token = this.users.adminToken): string {
    return kubeconfig(this.url, token, this.certificate?.cert);
  }

  /** Writes an object as the administrator would, without a request: `create`, or `update` when it is there. */
  apply(given: object, subresource = ''): KubeObject {
    const object = given as Json;
    const { rest, registry } = this.#cluster;
    const type = registry.byKind(String(object['apiVersion']), String(object['kind']));
    if (type === undefined) throw new Error(`no kind ${String(object['kind'])} in ${String(object['apiVersion'])}`);
    const metadata = object['metadata'] as { name: string; namespace?: string };
    const namespace = type.namespaced ? (metadata.namespace ?? 'default') : '';
    const options = {
      dryRun: false,
      fieldManager: 'test',
      fieldValidation: 'Strict',
      subresource,
      warnings: [],
    } as const;
    const old = rest.find(type, namespace, metadata.name);
    if (old === undefined) return rest.create(type, namespace, object, { ...options, warnings: [] });
    const versioned = { ...object, metadata: { ...metadata, resourceVersion: old.metadata.resourceVersion } };
    return rest.update(type, namespace, metadata.name, versioned, { ...options, warnings: [] });
  }

  /** Writes the status of an object that is there. */
  applyStatus(object: object): KubeObject {
    return this.apply(object, 'status');
  }

  /**
   * Writes many objects at once. The first of each kind is checked as {@link apply} checks it, the others are taken to be
   * like it: a cluster of 50,000 endpoints is there in seconds.
   */
  load(objects: Iterable<object>): void {
    const { rest } = this.#cluster;
    for (const given of objects) {
      const object = given as KubeObject;
      const kind = `${object.apiVersion} ${object.kind}`;
      const known = this.#loaded.get(kind);
      if (known === undefined) {
        this.#loaded.set(kind, this.#firstOf(object));
        continue;
      }
      const { type, managedFields } = known;
      const { metadata } = object;
      const old = rest.find(type, metadata.namespace ?? '', metadata.name)?.metadata;
      const { uid = randomUUID(), creationTimestamp = timestamp(), generation = 1 } = old ?? {};
      rest.put(type, { ...object, metadata: { ...metadata, uid, creationTimestamp, generation, managedFields } });
    }
  }

  #firstOf(object: KubeObject): LoadedKind {
    const first = this.apply(object);
    const type = this.#cluster.registry.byKind(first.apiVersion, first.kind)!;
    const whole = 'status' in object && type.subresources.status ? this.applyStatus(object) : first;
    return { type, managedFields: whole.metadata.managedFields ?? [] };
  }

  /** An object by its kind's plural: `get('cilium.io/v2/ciliumidentities', '1234')`. */
  get(path: string, name: string, namespace = ''): KubeObject | undefined {
    const parts = path.split('/');
    const [group, version, plural] = parts.length === 2 ? ['', ...parts] : parts;
    const type = this.#cluster.registry.find(group!, version!, plural!);
    return type === undefined ? undefined : this.#cluster.rest.find(type, namespace, name);
  }

  /** Deletes an object, as `get` names it, at once and whatever its finalizers. */
  remove(path: string, name: string, namespace = ''): void {
    const object = this.get(path, name, namespace);
    const type = object === undefined ? undefined : this.#cluster.registry.byKind(object.apiVersion, object.kind);
    if (object !== undefined && type !== undefined) this.#cluster.rest.remove(type, object);
  }

  /** Forgets old revisions, so that watches from them meet 410 Gone. */
  compact(): void {
    this.store.compact();
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let user: User | undefined;
    let info: RequestInfo | undefined;
    let answer: Answer | undefined;
    let lost = false;
    try {
      const body = await readAll(request);
      info = infoOf(request);
      user = this.users.authenticate(request.headers.authorization);
      if (isAdminPath(info.path)) answer = answerAdmin(this, user, info.path, body);
      else {
        const fate = await this.#meetFaults(info, user, response);
        if (fate === 'gone') return;
        lost = fate.lost;
        answer = await handle(this.#cluster, {
          request,
          response,
          info,
          user,
          body,
          behind: fate.behind,
          onWatch: (watch) => this.#opened(watch, response),
        });
      }
    } catch (error) {
      // A client that hangs up in the middle of its request waits for no answer.
      if (response.destroyed) return;
      answer = failure(error);
    }
    this.#record(info, user, answer?.code ?? 200);
    if (answer === undefined) return;
    if (lost) response.destroy();
    else send(response, answer);
  }

  #opened(watch: Watch, response: ServerResponse): void {
    this.faults.opened(watch);
    response.on('close', () => this.faults.closed(watch));
  }

  async #meetFaults(
    info: RequestInfo,
    user: User,
    response: ServerResponse,
  ): Promise<'gone' | { behind: number; lost: boolean }> {
    const { verb, group, plural, subresource, namespace, authorizedName } = info;
    const fate = { behind: 0, lost: false };
    for (const action of this.faults.meet({
      verb,
      group,
      plural,
      subresource,
      namespace,
      name: authorizedName,
      user: user.name,
    })) {
      if (action.kind === 'hang') return 'gone';
      if (action.kind === 'reset') {
        response.destroy();
        return 'gone';
      }
      if (action.kind === 'latency') await new Promise((resolve) => setTimeout(resolve, action.ms));
      else if (action.kind === 'stale') fate.behind = action.revisions;
      else if (action.kind === 'lost-answer') fate.lost = true;
      else throw injected(action);
    }
    return fate;
  }

  #record(info: RequestInfo | undefined, user: User | undefined, code: number): void {
    if (this.#options.recordRequests !== true || info === undefined || !info.isResource) return;
    const { verb, group, plural, subresource, namespace, authorizedName } = info;
    const resource = subresource === '' ? plural : `${plural}/${subresource}`;
    this.requests.push({ user: user?.name ?? '', verb, group, resource, namespace, name: authorizedName, code });
  }
}

function injected(action: FaultAction & { kind: 'status' }): ApiError {
  if (action.code === 429) return tooManyRequests(action.retryAfterSeconds ?? 1);
  const reasons: Readonly<Record<number, string>> = {
    401: 'Unauthorized',
    403: 'Forbidden',
    409: 'Conflict',
    410: 'Expired',
    500: 'InternalError',
    503: 'ServiceUnavailable',
    504: 'Timeout',
  };
  const details = action.retryAfterSeconds === undefined ? undefined : { retryAfterSeconds: action.retryAfterSeconds };
  return new ApiError(action.code, reasons[action.code] ?? 'Unknown', action.message ?? 'injected fault', details);
}

async function readAll(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function send(response: ServerResponse, { code, body, contentType, warnings }: Answer): void {
  const retry =
    code === 429 || code === 503 || code === 504
      ? (JSON.parse(body) as { details?: { retryAfterSeconds?: number } }).details?.retryAfterSeconds
      : undefined;
  response.writeHead(code, {
    'Content-Type': contentType ?? 'application/json',
    'Cache-Control': 'no-cache, private',
    'Content-Length': Buffer.byteLength(body),
    ...(retry !== undefined && { 'Retry-After': String(retry) }),
    ...(code === 401 && { 'WWW-Authenticate': 'Bearer' }),
    ...((warnings ?? []).length > 0 && {
      Warning: warnings!.map((text) => `299 - "${text.replaceAll(/["\\]/g, '\\$&')}"`),
    }),
  });
  response.end(body);
}
