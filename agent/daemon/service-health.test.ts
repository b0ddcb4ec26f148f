import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { test } from 'node:test';
import { port } from '../model/port.ts';
import { ServiceHealthServers } from './service-health.ts';

async function listening(at = 0): Promise<{ number: number; close: () => Promise<unknown> }> {
  const server = createServer().listen(at, '::');
  await once(server, 'listening');
  const close = (): Promise<unknown> => {
    const closed = once(server, 'close');
    server.close();
    return closed;
  };
  return { number: (server.address() as AddressInfo).port, close };
}

/** Asks until somebody listens, or nobody does any more. */
async function ask(number: number, expected: 'answer' | 'refusal' = 'answer'): Promise<Response | undefined> {
  for (;;) {
    const response = await fetch(`http://127.0.0.1:${number}/healthz`).catch(() => undefined);
    if ((response === undefined) === (expected === 'refusal')) return response;
    await response?.arrayBuffer();
  }
}

test('a node says how many backends of a service it has, at the port of the service, while there is one', async () => {
  const free = await listening();
  const number = free.number;
  await free.close();
  const servers = new ServiceHealthServers((message) => assert.fail(message));
  const tell = (localEndpoints: number): void =>
    servers.update(new Map([['shop/web', { port: port(number), localEndpoints }]]));

  tell(2);
  const healthy = (await ask(number))!;
  assert.equal(healthy.status, 200);
  assert.equal(healthy.headers.get('content-type'), 'application/json');
  assert.equal(healthy.headers.get('x-load-balancing-endpoint-weight'), '2');
  const service = { namespace: 'shop', name: 'web' };
  assert.deepEqual(await healthy.json(), { service, localEndpoints: 2, serviceProxyHealthy: true });

  tell(0);
  const without = (await ask(number))!;
  assert.equal(without.status, 503);
  assert.deepEqual(await without.json(), { service, localEndpoints: 0, serviceProxyHealthy: true });

  servers.update(new Map());
  await ask(number, 'refusal');
  tell(1);
  await (await ask(number))!.arrayBuffer();
  servers.stop();
  await ask(number, 'refusal');
});

test('a port that somebody else has is told, and tried again with the next change', async () => {
  const other = await listening();
  const told = Promise.withResolvers<string>();
  const servers = new ServiceHealthServers((message) => told.resolve(message));
  const health = new Map([['shop/web', { port: port(other.number), localEndpoints: 1 }]]);
  servers.update(health);
  assert.equal(await told.promise, `Service shop/web: its healthCheckNodePort ${other.number} cannot be listened on`);
  await other.close();
  servers.update(health);
  assert.equal((await ask(other.number))!.status, 200);
  servers.stop();
});
