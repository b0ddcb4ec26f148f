import { rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Endpoint, EndpointChangeRequest } from '../../agent/api/models.ts';
import { ERROR_CATALOGUE, type ErrorCode } from '../../agent/model/errors.ts';

/** Does one request in place of the agent: answers it, or breaks the connection. */
export type Script = (request: IncomingMessage, response: ServerResponse) => void;

/**
 * Speaks the part of the agent's API that the CNI plugin uses, on a real Unix socket, and keeps endpoints in memory.
 * `scripts` are used up by the requests that come, one each; then it behaves.
 */
export class FakeAgent implements AsyncDisposable {
  readonly socket: string;
  /** `METHOD path` of each request, ids decoded. */
  readonly requests: string[] = [];
  /** By attachment id, `<container>:<interface>`. */
  readonly endpoints = new Map<string, { readonly id: number; readonly request: EndpointChangeRequest }>();
  readonly scripts: Script[] = [];
  /** Changes what is said of an endpoint. */
  describe: (endpoint: Endpoint) => unknown = (endpoint) => endpoint;
  /** Awaited after a request has been done and before it is answered. */
  beforeAnswer: () => Promise<void> = () => Promise.resolve();
  health: unknown = { cilium: { state: 'Ok' } };
  endpointHealth: unknown = { overallHealth: 'OK', connected: true };
  readonly #server: Server;
  readonly #open = new Set<Socket>();
  #nextId = 1;

  private constructor(socket: string) {
    this.socket = socket;
    this.#server = createServer((request, response) => void this.#serve(request, response));
    this.#server.on('connection', (connection: Socket) => {
      this.#open.add(connection);
      connection.on('error', () => connection.destroy()).on('close', () => this.#open.delete(connection));
    });
  }

  static async listen(socket: string): Promise<FakeAgent> {
    const agent = new FakeAgent(socket);
    await new Promise<void>((resolve, reject) => agent.#server.once('error', reject).listen(socket, resolve));
    return agent;
  }

  /** Ends as a killed agent does: connections break, the socket's file stays. */
  async kill(): Promise<void> {
    for (const connection of this.#open) connection.destroy();
    if (!this.#server.listening) return;
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    rmSync(this.socket, { force: true });
  }

  /** Gives the next `times` requests a fault of the catalogue. */
  refuse(code: ErrorCode, times = 1, context: Readonly<Record<string, string>> = {}): void {
    const script: Script = (_, response) => {
      const { status, remedy } = ERROR_CATALOGUE[code];
      const message = `scripted ${code}`;
      const header = encodeURIComponent(JSON.stringify({ code, message, remedy, ...context }));
      response.writeHead(status, { 'weir-error': header }).end(JSON.stringify(message));
    };
    for (let i = 0; i < times; i++) this.scripts.push(script);
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = decodeURIComponent(request.url ?? '');
    this.requests.push(`${request.method ?? ''} ${url}`);
    const body = Buffer.concat(await Array.fromAsync(request as AsyncIterable<Buffer>)).toString();
    const script = this.scripts.shift();
    if (script !== undefined) {
      script(request, response);
      return;
    }
    const [status, value] = this.#behave(request.method ?? '', url, body);
    await this.beforeAnswer();
    response.writeHead(status).end(value === undefined ? '' : JSON.stringify(value));
  }

  /** Status and JSON body of an answer. */
  #behave(method: string, url: string, body: string): readonly [status: number, value?: unknown] {
    if (url.startsWith('/v1/healthz')) return [200, this.health];
    if (url === '/v1/endpoint') return [200, [...this.endpoints.keys()].map((key) => this.#model(key))];
    const key = /^\/v1\/endpoint\/cni-attachment-id:([^/]+)/.exec(url)?.[1];
    if (key === undefined) return [404, `no route ${url}`];
    if (method === 'PUT') {
      this.endpoints.set(key, { id: this.#nextId++, request: JSON.parse(body) as EndpointChangeRequest });
      return [201, this.#model(key)];
    }
    if (!this.endpoints.has(key)) return [404, `no endpoint ${key}`];
    if (url.endsWith('/healthz')) return [200, this.endpointHealth];
    if (method !== 'DELETE') return [200, this.#model(key)];
    this.endpoints.delete(key);
    return [200];
  }

  #model(key: string): unknown {
    const { id, request } = this.endpoints.get(key)!;
    return this.describe({
      id,
      status: {
        state: 'ready',
        'external-identifiers': { 'cni-attachment-id': key },
        networking: {
          addressing: [{ ipv4: `10.0.0.${10 + id}`, ipv6: `fd00::${(16 + id).toString(16)}` }],
          'host-addressing': { ipv4: { ip: '10.0.0.1' }, ipv6: { ip: 'fd00::1' } },
          'interface-name': `wr${id}`,
          'interface-index': 100 + id,
          'host-mac': '02:00:00:00:01:00',
          mac: '02:00:00:00:02:00',
          'container-interface-name': request['container-interface-name']!,
          mtu: 1500,
        },
      },
    });
  }
}
