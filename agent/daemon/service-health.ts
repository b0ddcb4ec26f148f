import { createServer, type RequestListener, type Server } from 'node:http';
import type { ServiceHealth } from '../loadbalancer/service.ts';

/**
 * Answers load balancers that ask, at a service's `healthCheckNodePort`, whether this node has backends of its own: 200 with
 * some, 503 without, and the words of kube-proxy. Nobody answers for a service that is unknown, or while the agent is away.
 */
export class ServiceHealthServers {
  readonly #onError: (message: string, error: unknown) => void;
  readonly #servers = new Map<number, Server>();
  #health: ReadonlyMap<string, ServiceHealth> = new Map();
  #stopped = false;

  /** @param onError hears of ports that cannot be listened on; with the next change they are tried again */
  constructor(onError: (message: string, error: unknown) => void) {
    this.#onError = onError;
  }

  /** @param health what is true from now on, by `namespace/name` */
  update(health: ReadonlyMap<string, ServiceHealth>): void {
    if (this.#stopped) return;
    this.#health = health;
    const asked = new Map([...health].map(([service, { port }]) => [port as number, service]));
    for (const [port, server] of this.#servers) if (!asked.has(port)) this.#close(port, server);
    for (const [port, service] of asked) if (!this.#servers.has(port)) this.#open(port, service);
  }

  stop(): void {
    this.#stopped = true;
    for (const [port, server] of this.#servers) this.#close(port, server);
  }

  #open(port: number, service: string): void {
    const server = createServer(this.#answer(port));
    // Strangers may connect: none of them holds on for long.
    server.requestTimeout = server.headersTimeout = 5_000;
    server.maxConnections = 1_000;
    let host = '::';
    server.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EAFNOSUPPORT' && host === '::') {
        host = '0.0.0.0'; // A node without IPv6.
        server.listen({ host, port });
        return;
      }
      if (this.#servers.get(port) === server) this.#servers.delete(port);
      this.#onError(`Service ${service}: its healthCheckNodePort ${port} cannot be listened on`, error);
    });
    this.#servers.set(port, server);
    server.listen({ host, port }).unref();
  }

  #close(port: number, server: Server): void {
    this.#servers.delete(port);
    server.close();
    server.closeAllConnections();
  }

  #answer(port: number): RequestListener {
    return (_request, response) => {
      const [service, health] = [...this.#health].find(([, asked]) => (asked.port as number) === port) ?? [];
      if (service === undefined || health === undefined) {
        response.writeHead(404, { connection: 'close' }).end();
        return;
      }
      const [namespace, name] = service.split('/');
      const { localEndpoints } = health;
      const body = { service: { namespace, name }, localEndpoints, serviceProxyHealthy: true };
      const headers = {
        'content-type': 'application/json',
        'x-content-type-options': 'nosniff',
        'x-load-balancing-endpoint-weight': String(localEndpoints),
        connection: 'close',
      };
      response.writeHead(localEndpoints > 0 ? 200 : 503, headers).end(JSON.stringify(body, undefined, '\t'));
    };
  }
}
