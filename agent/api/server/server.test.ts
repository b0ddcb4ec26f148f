import assert from 'node:assert/strict';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { FastifyInstance } from 'fastify';
import pino from 'pino';
import { WeirError } from '../../model/errors.ts';
import { ApiClient } from '../client.ts';
import type { Endpoint, EndpointChangeRequest, MonitorEvent } from '../models.ts';
import type { AgentApi, ApiPhase } from './contract.ts';
import { createServer, listen } from './server.ts';

const EVENT: MonitorEvent = {
  type: 'drop',
  time: '2026-01-01T00:00:00Z',
  endpoint: 7,
  direction: 'ingress',
  source: { ip: '10.0.0.2', port: 1, identity: 256 },
  destination: { ip: '10.0.0.3', port: 80, identity: 257 },
  protocol: 'TCP',
  reason: 'Policy denied',
  ifindex: 3,
  length: 60,
};

class FakeAgent {
  phase: ApiPhase = 'ready';
  readonly calls: unknown[][] = [];
  monitorEnded = false;

  /** An agent that notes every call and answers with the call's name. */
  api(): AgentApi {
    const note = (room: string) =>
      new Proxy<Record<string, unknown>>(
        {},
        {
          get:
            (_target, name) =>
            (...args: unknown[]) =>
              this.#answer(`${room}.${String(name)}`, args),
        },
      );
    const monitor = (signal: AbortSignal) => this.monitor(signal);
    const daemon = new Proxy(note('daemon'), {
      get: (target, name) => (name === 'phase' ? this.phase : name === 'monitor' ? monitor : target[name as string]),
    });
    return {
      endpoints: note('endpoints'),
      ipam: note('ipam'),
      policy: note('policy'),
      trial: note('trial'),
      services: note('services'),
      names: note('names'),
      health: note('health'),
      daemon,
    } as unknown as AgentApi;
  }

  #answer(name: string, args: unknown[]): unknown {
    this.calls.push([name, ...args]);
    if (name === 'endpoints.get' && args[0] === 'cni-attachment-id:gone:eth0') {
      throw new WeirError('ENDPOINT_NOT_FOUND', 'no such endpoint', { object: `endpoint ${args[0]}` });
    }
    if (name === 'endpoints.delete') throw new Error('unforeseen');
    return { called: name };
  }

  async *monitor(signal: AbortSignal): AsyncGenerator<string> {
    yield `${JSON.stringify(EVENT)}\n`;
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    this.monitorEnded = true;
  }
}

describe('the API server', () => {
  let agent: FakeAgent;
  let server: FastifyInstance;
  let dir: string;
  beforeEach(async () => {
    agent = new FakeAgent();
    server = await createServer({ api: agent.api(), version: '1.2.3', logger: pino({ level: 'silent' }) });
    dir = await mkdtemp(join(tmpdir(), 'weir-api-'));
  });
  afterEach(async () => {
    await server.close();
    await rm(dir, { recursive: true, force: true });
  });

  const client = async (): Promise<ApiClient> => {
    const path = join(dir, 'weir.sock');
    await listen(server, { path });
    return new ApiClient(path);
  };

  test('hands a request on and answers 201', async () => {
    const request: EndpointChangeRequest = {
      'container-id': 'c1',
      'container-interface-name': 'eth0',
      'network-namespace-path': '/run/netns/x',
      'sync-build-endpoint': true,
      mtu: 1450,
      bandwidth: { ingress: { 'bits-per-second': 1000 }, egress: { 'bits-per-second': 8000, 'burst-bytes': 1 } },
    };
    const answer = await server.inject({
      method: 'PUT',
      url: '/v1/endpoint/cni-attachment-id%3Ac1%3Aeth0',
      payload: request,
    });
    assert.equal(answer.statusCode, 201);
    assert.deepEqual(agent.calls, [['endpoints.put', 'cni-attachment-id:c1:eth0', request]]);
  });

  test('takes container ids longer than those of Docker', async () => {
    const id = `cni-attachment-id:${'c'.repeat(400)}:eth0`;
    await (await client()).endpoint(id);
    assert.deepEqual(agent.calls, [['endpoints.get', id]]);
  });

  for (const [what, method, url, payload, field, text] of [
    ['an unknown field', 'PUT', '/v1/endpoint/1', { 'container-idd': 'x' }, 'body.container-idd', /additional/],
    ['a wrong type', 'PUT', '/v1/endpoint/1', { mtu: '1500' }, 'body.mtu', /integer/],
    ['a wrong rate', 'PUT', '/v1/endpoint/1', { bandwidth: { egress: { 'bits-per-second': 9 } } }, 'body.bandwidth.egress.bits-per-second', />= 1000/], // prettier-ignore
    ['a wrong state', 'PATCH', '/v1/endpoint/1', { state: 'running' }, 'body.state', /ready/],
    ['no body', 'PUT', '/v1/endpoint/1', undefined, 'body', /object/],
    ['a missing field', 'DELETE', '/v1/endpoint', {}, 'body.container-id', /required/],
    ['a wrong family', 'POST', '/v1/ipam?family=ipx', undefined, 'querystring.family', /ipv4, ipv6/],
    ['a wrong mode', 'PATCH', '/v1/config', { 'policy-enforcement': 'off' }, 'body.policy-enforcement', /always/],
  ] as const) {
    test(`refuses ${what} by name`, async () => {
      const answer = await server.inject({ method, url, ...(payload !== undefined && { payload }) });
      assert.equal(answer.statusCode, 400);
      const details = JSON.parse(decodeURIComponent(String(answer.headers['weir-error']))) as Record<string, string>;
      assert.equal(details['code'], 'REQUEST_INVALID');
      assert.equal(details['field'], field);
      assert.match(details['message']!, text);
      assert.equal(typeof answer.json(), 'string', 'the body is the text, as the peer’s clients expect');
      assert.deepEqual(agent.calls, []);
    });
  }

  test('refuses a body that is not JSON, and a path that is not there', async () => {
    const broken = await server.inject({
      method: 'PUT',
      url: '/v1/endpoint/1',
      payload: '{"a":',
      headers: { 'content-type': 'application/json' },
    });
    assert.equal(broken.statusCode, 400);
    assert.match(broken.json<string>(), /not JSON/);
    const nowhere = await server.inject({ method: 'GET', url: '/v1/nowhere' });
    assert.equal(nowhere.statusCode, 404);
    assert.match(nowhere.json<string>(), /there is no GET \/v1\/nowhere/);
  });

  test('says where and what when the agent finds fault, and 500 for what was not foreseen', async () => {
    const gone = await server.inject({ method: 'GET', url: '/v1/endpoint/cni-attachment-id:gone:eth0' });
    assert.equal(gone.statusCode, 404);
    assert.match(gone.json<string>(), /^endpoint cni-attachment-id:gone:eth0: no such endpoint \(/);
    const odd = await server.inject({ method: 'DELETE', url: '/v1/endpoint/1' });
    assert.equal(odd.statusCode, 500);
    assert.match(odd.json<string>(), /unforeseen/);
  });

  test('takes only what it can answer while the agent starts', async () => {
    const status = async (method: 'GET' | 'PUT', url: string) =>
      (await server.inject({ method, url, payload: {} })).statusCode;
    agent.phase = 'starting';
    assert.equal(await status('GET', '/v1/endpoint'), 503);
    assert.equal(await status('GET', '/v1/healthz'), 200);
    agent.phase = 'restored';
    assert.equal(await status('GET', '/v1/endpoint'), 200);
    assert.equal(await status('PUT', '/v1/endpoint/1'), 503);
    agent.phase = 'ready';
    assert.equal(await status('PUT', '/v1/endpoint/1'), 201);
  });

  test('serves the client: labels with GET, health, deletion by container', async () => {
    const api = await client();
    await api.endpoints(['k8s:app=web']);
    await api.health();
    await api.deleteContainer('c1');
    await api.flushMap('weir_ct4');
    await assert.rejects(api.endpoint('cni-attachment-id:gone:eth0'), { code: 'ENDPOINT_NOT_FOUND' });
    assert.deepEqual(
      agent.calls.map(([name, first]) => [name, first]),
      [
        ['endpoints.list', ['k8s:app=web']],
        ['daemon.health', false],
        ['endpoints.deleteMany', { 'container-id': 'c1' }],
        ['daemon.flushMap', 'weir_ct4'],
        ['endpoints.get', 'cni-attachment-id:gone:eth0'],
      ],
    );
  });

  test('streams events, and stops when the listener goes', async () => {
    const api = await client();
    const seen: MonitorEvent[] = [];
    for await (const event of api.monitor()) {
      seen.push(event);
      break;
    }
    assert.deepEqual(seen, [EVENT]);
    for (let turn = 0; turn < 1000 && !agent.monitorEnded; turn++)
      await new Promise((resolve) => setImmediate(resolve));
    assert.ok(agent.monitorEnded);
  });

  test('its socket is for root and its group, replaces a dead one, and never a live one', async () => {
    const path = join(dir, 'sub', 'weir.sock');
    await listen(server, { path });
    assert.equal((await stat(path)).mode & 0o777, 0o660);
    const second = await createServer({ api: agent.api(), version: '1', logger: pino({ level: 'silent' }) });
    await assert.rejects(listen(second, { path }), { code: 'CONFIG_INVALID', message: /another agent/ });
    await second.close();
    await writeFile(join(dir, 'file'), '');
    await assert.rejects(listen(server, { path: join(dir, 'file') }), { code: 'CONFIG_INVALID', message: /no socket/ });
    await assert.rejects(listen(server, { path, group: 'no-such-group' }), {
      code: 'CONFIG_INVALID',
      field: 'socket-group',
    });
  });

  test('describes itself', async () => {
    const answer = await server.inject({ method: 'GET', url: '/v1/openapi.json' });
    const description = answer.json<{ openapi: string; info: { version: string }; paths: Record<string, unknown> }>();
    assert.equal(description.info.version, '1.2.3');
    for (const path of [
      '/v1/endpoint',
      '/v1/endpoint/{id}',
      '/v1/endpoint/{id}/healthz',
      '/v1/endpoint/{id}/log',
      '/v1/endpoint/{id}/labels',
      '/v1/endpoint/{id}/config',
      '/v1/ipam',
      '/v1/ipam/{ip}',
      '/v1/identity',
      '/v1/identity/{id}',
      '/v1/identity/endpoints',
      '/v1/policy',
      '/v1/policy/selectors',
      '/v1/policy/explain',
      '/v1/policy/trial',
      '/v1/policy/trial/confirm',
      '/v1/service',
      '/v1/service/{id}',
      '/v1/fqdn/cache',
      '/v1/fqdn/cache/{id}',
      '/v1/fqdn/names',
      '/v1/ip',
      '/v1/map',
      '/v1/map/{name}',
      '/v1/config',
      '/v1/healthz',
      '/v1/debuginfo',
      '/v1/monitor',
    ]) {
      assert.ok(description.paths[path], path);
    }
  });

  test('answers with plain endpoints', async () => {
    const found: Partial<Endpoint> & { called?: string } = (await server.inject('/v1/endpoint/1')).json();
    assert.equal(found.called, 'endpoints.get');
  });
});
