import { createServer } from 'node:http';
import type { Netns } from '../kernel/netns.ts';
import { openSocket } from '../kernel/socket.ts';
import type { Address } from '../model/address.ts';

/** What probes ask for. */
export const HELLO_PATH = '/hello';

/** Answers probes at an address, in the namespace of the health endpoint. @throws KernelError SYSCALL_FAILED */
export async function respondIn(netns: Netns, address: Address, port: number): Promise<Disposable> {
  return await respond({ fd: openSocket({ protocol: 'tcp', bind: { address, port } }, netns) });
}

/** Answers probes at all addresses of the node itself. */
export async function respondOnNode(port: number): Promise<Disposable> {
  try {
    return await respond({ host: '::', port });
  } catch (error) {
    // A node without IPv6.
    if (!(error instanceof Error && 'code' in error && error.code === 'EAFNOSUPPORT')) throw error;
    return await respond({ host: '0.0.0.0', port });
  }
}

async function respond(
  where: { readonly fd: number } | { readonly host: string; readonly port: number },
): Promise<Disposable> {
  const server = createServer((request, response) => {
    const found = request.url === HELLO_PATH;
    response.writeHead(found ? 200 : 404, { connection: 'close' }).end();
  });
  // Strangers may connect: none of them holds on for long.
  server.requestTimeout = server.headersTimeout = 5_000;
  server.maxConnections = 1_000;
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(where, resolve));
  server.unref();
  return {
    [Symbol.dispose]: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}
