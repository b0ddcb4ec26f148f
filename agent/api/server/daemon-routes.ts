import { Readable } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import type { DaemonConfigurationSpec, MonitorEvent } from '../models.ts';
import type { AgentApi } from './contract.ts';
import * as schemas from './schemas.ts';

/** `/v1/healthz`, `/v1/config`, `/v1/debuginfo`, `/v1/map`, `/v1/monitor`: the agent itself. */
export function daemonRoutes(server: FastifyInstance, { daemon }: AgentApi): void {
  const tags = ['daemon'];
  server.get<{ Querystring: { readonly brief?: boolean } }>(
    '/v1/healthz',
    { schema: { tags, summary: 'State of the agent and its parts', querystring: schemas.healthQuery } },
    ({ query, headers }) => daemon.health(query.brief ?? headers['brief'] === 'true'),
  );
  server.get('/v1/cluster/nodes', { schema: { tags, summary: 'Nodes of the cluster' } }, () => daemon.nodes());
  server.get('/v1/config', { schema: { tags, summary: 'Configuration' } }, () => daemon.config());
  server.patch<{ Body: DaemonConfigurationSpec }>(
    '/v1/config',
    { schema: { tags, summary: 'Change what may be changed', body: schemas.daemonConfigurationSpec } },
    async ({ body }, reply) => {
      await daemon.patchConfig(body);
      return reply.code(200).send();
    },
  );
  server.get('/v1/debuginfo', { schema: { tags, summary: 'All of it, for a report' } }, () => daemon.debugInfo());
  server.get('/v1/map', { schema: { tags, summary: 'BPF maps' } }, () => daemon.maps());
  server.get<{ Params: { readonly name: string } }>(
    '/v1/map/:name',
    { schema: { tags, summary: 'What a BPF map holds', params: schemas.mapParams } },
    ({ params }) => daemon.map(params.name),
  );
  server.delete<{ Params: { readonly name: string } }>(
    '/v1/map/:name',
    { schema: { tags, summary: 'Forget what a conntrack map holds', params: schemas.mapParams } },
    async ({ params }, reply) => {
      await daemon.flushMap(params.name);
      return reply.code(200).send();
    },
  );
  server.get<{ Querystring: { readonly type?: string } }>(
    '/v1/monitor',
    {
      schema: {
        tags,
        summary: 'Drops, traces and policy verdicts as they happen, a JSON object a line',
        querystring: schemas.monitorQuery,
      },
    },
    (request, reply) => {
      const gone = new AbortController();
      const types = (request.query.type?.split(',') ?? []) as readonly MonitorEvent['type'][];
      request.raw.on('close', () => gone.abort());
      const events = Readable.from(heard(daemon.monitor(gone.signal, types)));
      reply.raw.on('close', () => {
        gone.abort();
        events.destroy();
      });
      return reply.type('application/x-ndjson').send(events);
    },
  );
}

/** Says first that it listens, then what comes. */
async function* heard(lines: AsyncIterable<string>): AsyncGenerator<string> {
  const iterator = lines[Symbol.asyncIterator]();
  // Asked for first: whoever is told that it is heard misses nothing from then on.
  let next = iterator.next();
  // Whether it failed is told below, where it is awaited.
  next.catch(() => undefined);
  try {
    // An empty line, so that a client knows that it is heard before anything has happened.
    yield '\n';
    for (;;) {
      const result = await next;
      if (result.done === true) return;
      yield result.value;
      next = iterator.next();
    }
  } finally {
    await iterator.return?.();
  }
}
