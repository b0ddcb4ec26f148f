/** An agent that serves the models of a small node on a Unix socket, and remembers what it was asked to change. */
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import fastify, { type FastifyInstance } from 'fastify';
import type { ApiErrorDetails, MonitorEvent, StatusResponse } from '../../agent/api/models.ts';
import { WeirError } from '../../agent/model/errors.ts';
import * as models from './models.ts';

export class FakeAgent implements AsyncDisposable {
  readonly socket: string;
  /** Requests that change something: `METHOD path body`. */
  readonly changes: string[] = [];
  /** What `policy trace` asked. */
  readonly questions: Readonly<Record<string, string>>[] = [];
  status: StatusResponse = models.STATUS;
  /** Whether the last question after the status was for the brief one. */
  briefly: boolean | undefined;
  /** What the monitor sends; then it stays open, or ends. */
  monitor: { readonly events: readonly MonitorEvent[]; readonly open: boolean } = {
    events: models.EVENTS,
    open: false,
  };
  readonly #dir: string;
  readonly #app: FastifyInstance;

  private constructor(dir: string) {
    this.#dir = dir;
    this.socket = path.join(dir, 'weir.sock');
    this.#app = fastify({ forceCloseConnections: true });
    this.#app.setErrorHandler((error, _request, reply) => {
      if (!(error instanceof WeirError)) return reply.code(500).send(JSON.stringify(String(error)));
      const { code, message, object, field, remedy } = error;
      const details: ApiErrorDetails = {
        code,
        message,
        remedy,
        ...(object === undefined ? {} : { object }),
        ...(field === undefined ? {} : { field }),
      };
      return reply
        .code(error.status)
        .header('weir-error', encodeURIComponent(JSON.stringify(details)))
        .type('application/json')
        .send(JSON.stringify(error.describe()));
    });
    this.#routes();
  }

  static async start(): Promise<FakeAgent> {
    const agent = new FakeAgent(await mkdtemp(path.join(os.tmpdir(), 'weir-cli-')));
    await agent.#app.listen({ path: agent.socket });
    return agent;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#app.close();
    await rm(this.#dir, { recursive: true, force: true });
  }

  #routes(): void {
    const app = this.#app;
    app.get<{ Querystring: { readonly brief?: string } }>('/v1/healthz', ({ query }) => {
      this.briefly = query.brief === 'true';
      return this.status;
    });
    app.get('/v1/config', () => models.CONFIG);
    app.get('/v1/debuginfo', () => models.DEBUG_INFO);
    app.get('/v1/endpoint', () => models.ENDPOINTS);
    app.get<{ Params: Id }>('/v1/endpoint/:id', (request) => endpoint(request.params.id));
    app.get<{ Params: Id }>('/v1/endpoint/:id/log', () => models.ENDPOINT_LOG);
    app.get<{ Params: Id }>('/v1/endpoint/:id/healthz', () => ({ overallHealth: 'OK', bpf: 'OK', policy: 'Warning' }));
    app.get<{ Params: Id }>('/v1/endpoint/:id/labels', () => ({
      spec: { user: ['own:tier=front'] },
      status: { 'security-relevant': ['own:tier=front', 'k8s:app=web'] },
    }));
    app.get<{ Params: Id }>('/v1/endpoint/:id/config', () => ({
      realized: { options: { PolicyAuditMode: 'Disabled' } },
      immutable: { Conntrack: 'Enabled' },
    }));
    app.get('/v1/identity', () => models.IDENTITIES);
    app.get('/v1/identity/endpoints', () => [{ identity: models.IDENTITIES[3], refCount: 1 }]);
    app.get<{ Params: Id }>('/v1/identity/:id', (request) => {
      const found = models.IDENTITIES.find((identity) => String(identity.id) === request.params.id);
      if (found === undefined) throw new WeirError('IDENTITY_NOT_FOUND', `there is no identity ${request.params.id}`);
      return found;
    });
    app.get('/v1/ip', () => models.IPS);
    app.get('/v1/policy', () => models.POLICY);
    app.get('/v1/policy/selectors', () => models.SELECTORS);
    app.get<{ Querystring: Readonly<Record<string, string>> }>('/v1/policy/explain', ({ query }) => {
      this.questions.push(query);
      return models.explanation(query['direction']!);
    });
    app.get('/v1/fqdn/cache', () => models.LOOKUPS);
    app.get<{ Params: Id }>('/v1/fqdn/cache/:id', (request) =>
      models.LOOKUPS.filter((lookup) => String(lookup['endpoint-id']) === request.params.id),
    );
    app.delete('/v1/fqdn/cache', (request, reply) => {
      this.changes.push(`DELETE ${request.url}`);
      return reply.code(200).send();
    });
    app.get('/v1/fqdn/names', () => models.NAMES);
    app.get('/v1/cluster/nodes', () => ({ self: 'default/n1', 'nodes-added': models.NODES }));
    app.get('/v1beta/status', () => models.HEALTH);
    app.put('/v1beta/status/probe', () => models.HEALTH);
    app.get('/v1/service', () => models.SERVICES);
    app.get<{ Params: Id }>('/v1/service/:id', (request) => {
      const found = models.SERVICES.find(({ spec }) => String(spec?.id) === request.params.id);
      if (found === undefined)
        throw new WeirError('SERVICE_NOT_FOUND', 'there is no such service', {
          object: `service ${request.params.id}`,
        });
      return found;
    });
    app.get('/v1/map', () => ({ maps: [...MAPS.values()].map((map, i) => (i === 0 ? { path: map.path! } : map)) }));
    app.get<{ Params: Id }>('/v1/map/:id', (request) => {
      const map = MAPS.get(request.params.id);
      if (map === undefined) throw new WeirError('MAP_NOT_FOUND', `there is no map ${request.params.id}`);
      return map;
    });
    app.get<{ Querystring: { readonly type?: string } }>('/v1/monitor', ({ query: { type } }, reply) => {
      const stream = new Readable({ read: () => undefined });
      for (const event of this.monitor.events) {
        if (type?.split(',').includes(event.type) !== false) stream.push(`${JSON.stringify(event)}\n`);
      }
      if (!this.monitor.open) stream.push(null);
      return reply.type('application/x-ndjson').send(stream);
    });
    app.route({
      method: ['PATCH', 'DELETE', 'PUT'],
      url: '/*',
      handler: (request, reply) => {
        const id = /^\/v1\/endpoint\/([^/]+)/.exec(request.url)?.[1];
        if (id !== undefined) endpoint(decodeURIComponent(id));
        const body = request.body === undefined || request.body === null ? '' : ` ${JSON.stringify(request.body)}`;
        this.changes.push(`${request.method} ${request.url}${body}`);
        return reply.code(200).send();
      },
    });
  }
}

interface Id {
  readonly id: string;
}

const MAPS = new Map(
  [
    models.mapOf('weir_policy_42', models.POLICY_MAP),
    models.mapOf('weir_policy_2107', []),
    models.mapOf('weir_ipcache', models.IPCACHE),
    models.mapOf('weir_tunnel', [{ prefix: '10.244.1.0/24', 'tunnel-endpoint': '192.0.2.2' }]),
    models.mapOf('weir_lxc', models.ENDPOINT_MAP),
    models.mapOf('weir_ct4', models.CONNTRACK4),
    models.mapOf('weir_ct6', models.CONNTRACK6),
    models.mapOf('weir_metrics', models.METRICS),
    models.mapOf('weir_lb_services', models.SERVICE_MAP),
    models.mapOf('weir_lb_backends', models.BACKEND_MAP),
    models.mapOf('weir_lb_affinity', models.AFFINITY_MAP),
    models.mapOf('weir_lb_source_ranges', models.SOURCE_RANGE_MAP),
    models.mapOf('weir_bandwidth', models.BANDWIDTH_MAP),
  ].map((map) => [map.path!.split('/').at(-1)!, map]),
);

function endpoint(id: string): (typeof models.ENDPOINTS)[number] {
  const found = models.ENDPOINTS.find(
    (e) => String(e.id) === id || `pod-name:${e.status?.['external-identifiers']?.['pod-name'] ?? ''}` === id,
  );
  if (found === undefined)
    throw new WeirError('ENDPOINT_NOT_FOUND', `there is no endpoint ${id}`, { object: `endpoint ${id}` });
  return found;
}
