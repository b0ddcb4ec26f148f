import type { FastifyInstance } from 'fastify';
import type {
  EndpointBatchDeleteRequest,
  EndpointChangeRequest,
  EndpointConfigurationSpec,
  LabelConfigurationSpec,
} from '../models.ts';
import type { AgentApi } from './contract.ts';
import * as schemas from './schemas.ts';

interface ById {
  readonly Params: { readonly id: string };
}

const tags = ['endpoint'];
const byId = { tags, params: schemas.endpointParams, description: schemas.ENDPOINT_ID_HELP };

/** `/v1/endpoint`: what runtimes and people do with endpoints. */
export function endpointRoutes(server: FastifyInstance, { endpoints }: AgentApi): void {
  server.get<{ Body?: readonly string[] }>(
    '/v1/endpoint',
    { schema: { tags, summary: 'All endpoints, or those with all the labels of the body' } },
    ({ body }) => endpoints.list(Array.isArray(body) ? body : []),
  );
  server.delete<{ Body: EndpointBatchDeleteRequest }>(
    '/v1/endpoint',
    { schema: { tags, summary: 'Delete the endpoints of a container', body: schemas.endpointBatchDeleteRequest } },
    async ({ body }, reply) => {
      await endpoints.deleteMany(body);
      return reply.code(200).send();
    },
  );
  server.get<ById>('/v1/endpoint/:id', { schema: { ...byId, summary: 'One endpoint' } }, ({ params }) =>
    endpoints.get(params.id),
  );
  server.put<ById & { Body: EndpointChangeRequest }>(
    '/v1/endpoint/:id',
    {
      schema: {
        ...byId,
        summary: 'Create an endpoint, or replace the stale one of the same attachment',
        body: schemas.endpointChangeRequest,
      },
    },
    async ({ params, body }, reply) => reply.code(201).send(await endpoints.put(params.id, body)),
  );
  server.patch<ById & { Body: EndpointChangeRequest }>(
    '/v1/endpoint/:id',
    { schema: { ...byId, summary: 'Change an endpoint', body: schemas.endpointChangeRequest } },
    async ({ params, body }, reply) => {
      await endpoints.patch(params.id, body);
      return reply.code(200).send();
    },
  );
  server.delete<ById>(
    '/v1/endpoint/:id',
    { schema: { ...byId, summary: 'Delete an endpoint' } },
    async ({ params }, reply) => {
      await endpoints.delete(params.id);
      return reply.code(200).send();
    },
  );
  endpointPartRoutes(server, { endpoints });
}

/** `/v1/endpoint/{id}/…`: parts of one endpoint. */
function endpointPartRoutes(server: FastifyInstance, { endpoints }: Pick<AgentApi, 'endpoints'>): void {
  server.get<ById>('/v1/endpoint/:id/healthz', { schema: { ...byId, summary: 'Its health' } }, ({ params }) =>
    endpoints.health(params.id),
  );
  server.get<ById>('/v1/endpoint/:id/log', { schema: { ...byId, summary: 'What happened to it' } }, ({ params }) =>
    endpoints.log(params.id),
  );
  server.get<ById>('/v1/endpoint/:id/labels', { schema: { ...byId, summary: 'Its labels' } }, ({ params }) =>
    endpoints.labels(params.id),
  );
  server.patch<ById & { Body: LabelConfigurationSpec }>(
    '/v1/endpoint/:id/labels',
    {
      schema: {
        ...byId,
        summary: 'Set labels in addition to the orchestrator’s',
        body: schemas.labelConfigurationSpec,
      },
    },
    async ({ params, body }, reply) => {
      await endpoints.patchLabels(params.id, body);
      return reply.code(200).send();
    },
  );
  server.get<ById>('/v1/endpoint/:id/config', { schema: { ...byId, summary: 'Its configuration' } }, ({ params }) =>
    endpoints.config(params.id),
  );
  server.patch<ById & { Body: EndpointConfigurationSpec }>(
    '/v1/endpoint/:id/config',
    {
      schema: {
        ...byId,
        summary: 'Change its configuration and regenerate it',
        body: schemas.endpointConfigurationSpec,
      },
    },
    async ({ params, body }, reply) => {
      await endpoints.patchConfig(params.id, body);
      return reply.code(200).send();
    },
  );
}
