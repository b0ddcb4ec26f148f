/** HTTP to an API server: one request, one answer; or a watch, whose answer does not end. */
import http, { type IncomingMessage } from 'node:http';
import https from 'node:https';
import type { Clock } from '../../model/clock.ts';
import { errorText, WeirError } from '../../model/errors.ts';
import { isRecord } from '../object-meta.ts';
import type { Credentials } from './credentials.ts';
import { JsonLines } from './json-lines.ts';

export type JsonObject = Readonly<Record<string, unknown>>;

export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

/** Patches by their media types. */
export const PATCH = {
  merge: 'application/merge-patch+json',
  json: 'application/json-patch+json',
  /** Of kinds of Kubernetes itself only. */
  strategic: 'application/strategic-merge-patch+json',
} as const;

export interface ApiRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Absolute, without the server: `/api/v1/pods`. */
  readonly path: string;
  readonly query?: Query;
  readonly body?: unknown;
  /** Of the body: JSON when absent. */
  readonly contentType?: string;
}

/** One message of a watch. */
export interface WatchMessage {
  readonly type: string;
  readonly object: JsonObject;
}

/** An API server, as far as the agent speaks to it. */
export interface ApiServer {
  /**
   * @throws ApiRefusal when the server answers with an error
   * @throws WeirError KUBERNETES_UNREACHABLE when it does not answer
   */
  request(request: ApiRequest): Promise<JsonObject>;
  /**
   * Messages as they come, several at once when they came so. Ends when the server ends the watch, or at the signal.
   *
   * @throws as {@link request}
   */
  watch(path: string, query: Query, signal: AbortSignal): AsyncIterable<readonly WatchMessage[]>;
}

/** The server answered, and it was no. */
export class ApiRefusal extends WeirError {
  readonly httpStatus: number;
  /** Kubernetes' word for it, such as `AlreadyExists`; empty when the answer was none of Kubernetes'. */
  readonly reason: string;
  /** How long the server wants to be left alone, in milliseconds. */
  readonly retryAfterMs: number | undefined;

  constructor(what: string, httpStatus: number, status: JsonObject, retryAfterMs?: number) {
    const message = typeof status['message'] === 'string' ? status['message'] : `HTTP status ${httpStatus}`;
    super('KUBERNETES_REFUSED', message, { object: what });
    this.httpStatus = httpStatus;
    this.reason = typeof status['reason'] === 'string' ? status['reason'] : '';
    this.retryAfterMs = retryAfterMs;
  }
}

/** Whether the server answered with this HTTP status. */
export function isRefusal(error: unknown, httpStatus: number): error is ApiRefusal {
  return error instanceof ApiRefusal && error.httpStatus === httpStatus;
}

export interface ApiClientOptions {
  readonly credentials: Credentials;
  readonly userAgent: string;
  readonly clock: Clock;
  /** How long an answer may take to begin or stand still, in milliseconds. */
  readonly timeoutMs?: number;
}

const TIMEOUT_MS = 30_000;

export class ApiClient implements ApiServer {
  readonly #options: ApiClientOptions;
  /** Which of the servers is spoken to. */
  #server = 0;

  constructor(options: ApiClientOptions) {
    this.#options = options;
  }

  /** The server that is spoken to. */
  get server(): string {
    const { servers } = this.#options.credentials;
    return servers[this.#server % servers.length]!.href;
  }

  async request(request: ApiRequest): Promise<JsonObject> {
    const response = await this.#answer(request, AbortSignal.timeout(this.#options.timeoutMs ?? TIMEOUT_MS));
    try {
      const text = await readText(response);
      return text === '' ? {} : (JSON.parse(text) as JsonObject);
    } catch (cause) {
      throw this.#unreachable(request.path, cause);
    }
  }

  async *watch(path: string, query: Query, signal: AbortSignal): AsyncIterable<readonly WatchMessage[]> {
    const response = await this.#answer({ method: 'GET', path, query: { ...query, watch: true } }, signal);
    const lines = new JsonLines();
    try {
      for await (const chunk of response as AsyncIterable<Buffer>) {
        const messages = lines.push(chunk);
        if (messages.length > 0) yield messages as WatchMessage[];
      }
    } catch (cause) {
      if (!signal.aborted) throw this.#unreachable(path, cause);
    } finally {
      response.destroy();
    }
  }

  close(): void {
    this.#options.credentials.close();
  }

  /** The answer, when it is a good one; credentials that are no longer good are read again, once. */
  async #answer(request: ApiRequest, signal: AbortSignal): Promise<IncomingMessage> {
    const first = await this.#send(request, signal);
    const response = first.statusCode === 401 ? await this.#again(first, request, signal) : first;
    const { statusCode = 0, headers } = response;
    if (statusCode >= 200 && statusCode < 300) return response;
    const after = Number(headers['retry-after']);
    const status = parseStatus(await readText(response));
    throw new ApiRefusal(`${request.method} ${request.path}`, statusCode, status, after > 0 ? after * 1000 : undefined);
  }

  #again(response: IncomingMessage, request: ApiRequest, signal: AbortSignal): Promise<IncomingMessage> {
    response.resume();
    this.#options.credentials.refresh();
    return this.#send(request, signal);
  }

  /**
   * A server, or a balancer before it, may close a connection that was idle in the moment in which it is used again: that says
   * nothing of the server, and the request is made once more. Each such connection is met once, so this comes to an end.
   */
  async #send(request: ApiRequest, signal: AbortSignal): Promise<IncomingMessage> {
    const { credentials, userAgent } = this.#options;
    const access = await credentials.access();
    const { method, path, body, contentType = 'application/json' } = request;
    const url = this.#url(path, request.query);
    const payload = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
    const headers = {
      ...access.headers,
      accept: 'application/json',
      'user-agent': userAgent,
      ...(payload !== undefined && { 'content-type': contentType, 'content-length': payload.length }),
    };
    const { request: open } = url.protocol === 'https:' ? https : http;
    return await new Promise<IncomingMessage>((resolve, reject) => {
      const call = open(url, { method, headers, agent: access.agent, signal }, (response) => {
        // From here on whoever reads has the say: the answer of a watch may be silent for long.
        call.setTimeout(0);
        resolve(response);
      });
      call.setTimeout(this.#options.timeoutMs ?? TIMEOUT_MS, () => call.destroy(new Error('no answer in time')));
      call.on('error', (cause) => {
        if (call.reusedSocket && isHangUp(cause) && method !== 'POST' && !signal.aborted) {
          resolve(this.#send(request, signal));
          return;
        }
        // The next request tries the next of several servers.
        this.#server++;
        reject(this.#unreachable(path, cause));
      });
      call.end(payload);
    });
  }

  #url(path: string, query: Query = {}): URL {
    // A server behind a path of its own, as some proxies have it.
    const base = this.server.replace(/\/$/, '');
    const url = new URL(`${base}${path}`);
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) url.searchParams.set(name, String(value));
    }
    return url;
  }

  #unreachable(path: string, cause: unknown): WeirError {
    if (cause instanceof WeirError) return cause;
    return new WeirError('KUBERNETES_UNREACHABLE', errorText(cause), { object: `${this.server} ${path}`, cause });
  }
}

/** Whether the other end closed the connection without an answer. */
const isHangUp = (cause: Error & { readonly code?: string }): boolean =>
  cause.code === 'ECONNRESET' || cause.code === 'EPIPE';

async function readText(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

/** A Status object; something before the API server may answer in its place, with whatever it likes. */
function parseStatus(text: string): JsonObject {
  try {
    const json: unknown = JSON.parse(text);
    return isRecord(json) ? json : {};
  } catch {
    return { message: text.slice(0, 200).trim() };
  }
}
