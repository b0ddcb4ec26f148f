import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer as createHttpServer, type RequestListener } from 'node:http';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import { WeirError, type ErrorCode } from '../model/errors.ts';
import { ApiClient } from './client.ts';

/** The path of a socket in a folder that goes away with the test. */
function socketPath(t: TestContext): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'weir-client-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return path.join(folder, 'weir.sock');
}

async function listen(t: TestContext, server: Server): Promise<string> {
  const socket = socketPath(t);
  const open = new Set<Socket>();
  server.on('connection', (connection: Socket) => {
    open.add(connection);
    connection.on('error', () => undefined).on('close', () => open.delete(connection));
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  t.after(() => {
    for (const connection of open) connection.destroy();
    return new Promise((resolve) => server.close(resolve));
  });
  return socket;
}

const http = (t: TestContext, listener: RequestListener): Promise<string> => listen(t, createHttpServer(listener));

/** A server that answers every connection with `bytes`, then closes it or leaves it open. */
const raw = (t: TestContext, bytes: string, end = true): Promise<string> =>
  listen(
    t,
    createServer((connection) => {
      connection.once('data', () => (end ? connection.end(bytes) : connection.write(bytes)));
    }),
  );

const code = (expected: ErrorCode, text?: RegExp) => (error: unknown) => {
  assert.ok(error instanceof WeirError, String(error));
  assert.equal(error.code, expected);
  if (text !== undefined) assert.match(error.describe(), text);
  return true;
};

test('a request carries method, encoded path and JSON body; the answer is decoded', async (t) => {
  const seen: unknown[] = [];
  const socket = await http(t, (request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      seen.push([request.method, request.url, request.headers['content-type'], body]);
      response.writeHead(201).end(JSON.stringify({ id: 7, note: 'grüße' }));
    });
  });
  const endpoint = await new ApiClient(socket).putEndpoint('cni-attachment-id:abc:eth0', { 'k8s-pod-name': 'ü' });
  assert.deepEqual(endpoint, { id: 7, note: 'grüße' });
  assert.deepEqual(seen, [
    ['PUT', '/v1/endpoint/cni-attachment-id%3Aabc%3Aeth0', 'application/json', '{"k8s-pod-name":"ü"}'],
  ]);
});

test('an empty answer is undefined, a large one is whole', async (t) => {
  const big = 'x'.repeat(3_000_000);
  const socket = await http(t, (request, response) =>
    request.method === 'DELETE' ? response.end() : response.end(JSON.stringify(big)),
  );
  const client = new ApiClient(socket);
  assert.equal(await client.call({ method: 'DELETE', path: '/' }), undefined);
  assert.equal(await client.call({ method: 'GET', path: '/' }), big);
});

test('a fault keeps its code, object, field and remedy', async (t) => {
  const details = {
    code: 'IPAM_EXHAUSTED',
    message: 'no address left — 10.0.0.0/30',
    object: 'node a',
    remedy: 'grow',
  };
  const socket = await http(t, (_, response) => {
    response.setHeader('weir-error', encodeURIComponent(JSON.stringify(details)));
    response.writeHead(502).end(JSON.stringify('full text'));
  });
  await assert.rejects(new ApiClient(socket).health(), (error: unknown) => {
    assert.ok(error instanceof WeirError);
    assert.equal(error.code, 'IPAM_EXHAUSTED');
    assert.equal(error.message, details.message);
    assert.equal(error.object, 'node a');
    assert.equal(error.field, undefined);
    assert.equal(error.remedy, 'grow');
    return true;
  });
});

test('a fault without the header keeps its text and gets a code from its status', async (t) => {
  const socket = await http(t, (request, response) => {
    const status = Number(/\d+$/.exec(request.url ?? '')?.[0]);
    response.writeHead(status, { 'weir-error': '%' }).end(status === 500 ? 'not json' : JSON.stringify('text'));
  });
  const client = new ApiClient(socket);
  const get = (path: string): Promise<unknown> => client.call({ method: 'GET', path });
  await assert.rejects(get('/v1/endpoint/404'), code('ENDPOINT_NOT_FOUND', /text/));
  await assert.rejects(get('/v1/404'), code('REQUEST_INVALID'));
  await assert.rejects(get('/v1/503'), code('AGENT_STARTING'));
  await assert.rejects(get('/v1/500'), code('INTERNAL', /not json/));
});

test('nothing there: the agent is unreachable, and the message says which socket and what to do', async (t) => {
  const socket = socketPath(t);
  const expected = code('AGENT_UNREACHABLE', /weir\.sock: the socket does not exist \(start weir-agent/);
  await assert.rejects(new ApiClient(socket).health(), expected);
  await assert.rejects(new ApiClient(socket).monitor().next(), expected);
});

test('a connection that breaks before the whole answer is lost, at every point', async (t) => {
  for (const bytes of ['', 'HTTP/1.1 200 OK\r\nContent-', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"id"']) {
    const client = new ApiClient(await raw(t, bytes));
    await assert.rejects(client.endpoint('1'), code('AGENT_LOST', /GET \/v1\/endpoint\/1/), JSON.stringify(bytes));
  }
});

test('an answer that is not the agent’s is told as such', async (t) => {
  const expected = code('ANSWER_INVALID', /is not weir-agent/);
  await assert.rejects(new ApiClient(await raw(t, 'SSH-2.0-x\r\n\r\n')).health(), expected);
  await assert.rejects(new ApiClient(await raw(t, 'x'.repeat(70_000), false)).monitor().next(), expected);
  await assert.rejects(new ApiClient(await raw(t, 'HTTP/1.1 200 OK\r\n\r\n<html>')).health(), expected);
});

test('a silent agent times out; an aborted call rejects with its reason', async (t) => {
  const socket = await raw(t, '', false);
  await assert.rejects(new ApiClient(socket, 20).health(), code('AGENT_TIMEOUT', /within 20 ms/));
  const stop = new AbortController();
  const call = new ApiClient(socket).call({ method: 'GET', path: '/', signal: stop.signal });
  stop.abort(new Error('enough'));
  await assert.rejects(call, /enough/);
});

test('a stream yields each line as it comes and closes when the loop is left', async (t) => {
  const closed = Promise.withResolvers<undefined>();
  const socket = await http(t, (_, response) => {
    response.on('close', () => closed.resolve(undefined));
    response.writeHead(200, { 'content-type': 'application/x-ndjson' });
    response.write('{"type":"drop","reason":"ü');
    setImmediate(() => response.write('"}\n\n{"type":"trace"}\n{"ty'));
  });
  const types: string[] = [];
  for await (const event of new ApiClient(socket).monitor()) {
    types.push(event.type);
    if (types.length === 2) break;
  }
  assert.deepEqual(types, ['drop', 'trace']);
  await closed.promise;
});

test('a stream ends with the agent, or with its signal; a fault in place of a stream is thrown', async (t) => {
  const ending = new ApiClient(await raw(t, 'HTTP/1.1 200 OK\r\n\r\n{"type":"drop"}\n'));
  assert.equal((await Array.fromAsync(ending.monitor())).length, 1);

  const stop = new AbortController();
  const endless = new ApiClient(await raw(t, 'HTTP/1.1 200 OK\r\n\r\n{"type":"drop"}\n', false)).monitor(stop.signal);
  assert.equal((await endless.next()).done, false);
  stop.abort();
  assert.equal((await endless.next()).done, true);

  const refusing = new ApiClient(await raw(t, 'HTTP/1.1 503 no\r\n\r\n"restoring"'));
  await assert.rejects(refusing.monitor().next(), code('AGENT_STARTING', /restoring/));
});
