/** The client against servers that behave as real ones do on bad days. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemClock } from '../../model/clock.ts';
import { ApiClient } from './client.ts';
import { Credentials } from './credentials.ts';

function kubeconfig(server: string, token: string): string {
  return JSON.stringify({
    ...{ apiVersion: 'v1', kind: 'Config', 'current-context': 'c' },
    clusters: [{ name: 'c', cluster: { server } }],
    users: [{ name: 'u', user: { token } }],
    contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
  });
}

async function open(listener: RequestListener) {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const folder = mkdtempSync(join(tmpdir(), 'weir-client-'));
  const file = join(folder, 'kubeconfig');
  writeFileSync(file, kubeconfig(url, 'first'));
  const credentials = Credentials.load({ kubeconfig: file, servers: [], clock: systemClock });
  const client = new ApiClient({ credentials, userAgent: 'test', clock: systemClock });
  return {
    ...{ url, file, client },
    [Symbol.asyncDispose]: async () => {
      client.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      rmSync(folder, { recursive: true });
    },
  };
}

test('a connection that was closed while it was idle costs nothing but what must not be done twice', async () => {
  const used = new WeakSet<object>();
  await using world = await open((request, response) => {
    if (used.has(request.socket)) {
      request.socket.destroy();
      return;
    }
    used.add(request.socket);
    response.end('{"ok":true}');
  });
  const { client } = world;
  for (let i = 0; i < 3; i++) assert.deepEqual(await client.request({ method: 'GET', path: '/a' }), { ok: true });
  await assert.rejects(client.request({ method: 'POST', path: '/a', body: {} }), { code: 'KUBERNETES_UNREACHABLE' });
});

test('a token that was replaced in the kubeconfig is read when the old one is refused', async () => {
  await using world = await open(({ headers }, response) => {
    response.statusCode = headers.authorization === 'Bearer second' ? 200 : 401;
    response.end('{}');
  });
  const { client, file, url } = world;
  await assert.rejects(client.request({ method: 'GET', path: '/a' }), { httpStatus: 401 });
  writeFileSync(file, kubeconfig(url, 'second'));
  assert.deepEqual(await client.request({ method: 'GET', path: '/a' }), {});
});
