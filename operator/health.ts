/** What others ask an operator over HTTP: whether it lives, and what it counts. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { errorText, WeirError } from '../agent/model/errors.ts';
import type { Operator } from './operator.ts';

export interface HealthServer extends AsyncDisposable {
  readonly port: number;
}

/** @throws WeirError CONFIG_INVALID when the address cannot be listened on. */
export async function serveHealth(
  operator: Operator,
  listen: { readonly host: string; readonly port: number },
): Promise<HealthServer> {
  const { registry } = operator.metrics;
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://operator');
    if (pathname === '/metrics') {
      void registry
        .metrics()
        .then((text) => response.writeHead(200, { 'content-type': registry.contentType }).end(text));
      return;
    }
    // An operator that does not lead is as ready as one can be that waits.
    if (pathname === '/healthz' || pathname === '/readyz')
      response.writeHead(200).end(operator.leads ? 'ok: leads\n' : 'ok: waits to lead\n');
    else response.writeHead(404).end('not found: /metrics, /healthz, /readyz\n');
  });
  await listening(server, listen);
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

function listening(server: Server, { host, port }: { readonly host: string; readonly port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) =>
      reject(
        new WeirError('CONFIG_INVALID', `cannot listen on ${host}:${port}: ${errorText(cause)}`, {
          field: '--listen',
          cause,
        }),
      ),
    );
    server.listen(port, host, resolve);
  });
}
