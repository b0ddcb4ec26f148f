/** A plain HTTP client for tests of the server: no library's habits between the test and the wire. */
import type { Json, KubeObject } from './object.ts';
import type { KubeApiServer } from './server.ts';

export interface Response_ {
  readonly code: number;
  readonly body: KubeObject & Json;
  readonly headers: Headers;
}

/** Sends requests as one user to a server that speaks plain HTTP. */
export class Client {
  readonly #server: KubeApiServer;
  readonly #token: string;

  constructor(server: KubeApiServer, token = server.users.adminToken) {
    this.#server = server;
    this.#token = token;
  }

  async request(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Response_> {
    const response = await fetch(`${this.#server.url}${path}`, {
      method,
      headers: { authorization: `Bearer ${this.#token}`, 'content-type': 'application/json', ...headers },
      ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    return { code: response.status, body: (await response.json()) as KubeObject, headers: response.headers };
  }

  get(path: string, headers?: Record<string, string>): Promise<Response_> {
    return this.request('GET', path, undefined, headers);
  }

  post(path: string, body: unknown): Promise<Response_> {
    return this.request('POST', path, body);
  }

  put(path: string, body: unknown): Promise<Response_> {
    return this.request('PUT', path, body);
  }

  patch(path: string, type: string, body: unknown): Promise<Response_> {
    return this.request('PATCH', path, body, { 'content-type': type });
  }

  delete(path: string, body?: unknown): Promise<Response_> {
    return this.request('DELETE', path, body);
  }

  /** Opens a watch and returns its events one by one; end it by the signal. */
  async *watch(path: string, signal?: AbortSignal): AsyncGenerator<{ type: string; object: KubeObject }> {
    const response = await fetch(`${this.#server.url}${path}`, {
      headers: { authorization: `Bearer ${this.#token}` },
      ...(signal && { signal }),
    });
    let text = '';
    for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
        yield JSON.parse(text.slice(0, end)) as { type: string; object: KubeObject };
        text = text.slice(end + 1);
      }
    }
  }
}
