import type { FastifyInstance } from 'fastify';
import type { PolicyQuestion, PolicyTrialRequest } from '../models.ts';
import type { AgentApi, IpFamily } from './contract.ts';
import * as schemas from './schemas.ts';

/** `/v1/identity`, `/v1/policy`, `/v1/ip`: what the agent knows and decides by. */
export function policyRoutes(server: FastifyInstance, { policy }: AgentApi): void {
  const tags = ['policy'];
  server.get<{ Body?: readonly string[] }>(
    '/v1/identity',
    { schema: { tags, summary: 'All identities, or those with all the labels of the body' } },
    ({ body }) => policy.identities(Array.isArray(body) ? body : []),
  );
  server.get('/v1/identity/endpoints', { schema: { tags, summary: 'Identities of local endpoints' } }, () =>
    policy.identityEndpoints(),
  );
  server.get<{ Params: { readonly id: string } }>(
    '/v1/identity/:id',
    { schema: { tags, summary: 'One identity', params: schemas.identityParams } },
    ({ params }) => policy.identity(params.id),
  );
  server.get('/v1/policy', { schema: { tags, summary: 'Policies in force' } }, () => policy.policy());
  server.get('/v1/policy/selectors', { schema: { tags, summary: 'Which identities each selector selects' } }, () =>
    policy.selectors(),
  );
  server.get<{ Querystring: PolicyQuestion }>(
    '/v1/policy/explain',
    {
      schema: { tags, summary: 'Why a packet is allowed or denied, rule by rule', querystring: schemas.explainQuery },
    },
    ({ query }) => policy.explain(query),
  );
  server.get<{ Querystring: { readonly cidr?: string } }>(
    '/v1/ip',
    { schema: { tags, summary: 'The ipcache, or what of it lies in a prefix', querystring: schemas.ipQuery } },
    ({ query }) => policy.ips(query.cidr),
  );
}

/** `/v1/policy/trial`: policies in force for a while. */
export function trialRoutes(server: FastifyInstance, { trial }: AgentApi): void {
  const tags = ['policy'];
  server.get('/v1/policy/trial', { schema: { tags, summary: 'Policies on trial' } }, () => trial.status());
  server.put<{ Body: PolicyTrialRequest }>(
    '/v1/policy/trial',
    {
      schema: {
        tags,
        summary: 'Put policies in force for a while, on this node alone: then what was before comes back',
        body: schemas.trialRequest,
      },
    },
    ({ body }) => trial.begin(body),
  );
  server.post('/v1/policy/trial/confirm', { schema: { tags, summary: 'Keep what is on trial' } }, () =>
    trial.confirm(),
  );
  server.delete('/v1/policy/trial', { schema: { tags, summary: 'Take back what is on trial' } }, () => trial.revert());
}

/** `/v1/service`: services as the kernel translates them. */
export function serviceRoutes(server: FastifyInstance, { services }: AgentApi): void {
  const tags = ['service'];
  server.get('/v1/service', { schema: { tags, summary: 'Frontends of services with their backends' } }, () =>
    services.list(),
  );
  server.get<{ Params: { readonly id: number } }>(
    '/v1/service/:id',
    { schema: { tags, summary: 'One frontend', params: schemas.serviceParams } },
    ({ params }) => services.get(params.id),
  );
}

interface IpamRequest {
  readonly Querystring: { readonly family?: IpFamily; readonly owner?: string };
  readonly Headers: { readonly expiration?: boolean };
}

interface ByIp {
  readonly Params: { readonly ip: string };
}

/** `/v1/ipam`: addresses for those who are not endpoints, or not yet. */
export function ipamRoutes(server: FastifyInstance, { ipam }: AgentApi): void {
  const tags = ['ipam'];
  server.post<IpamRequest>(
    '/v1/ipam',
    {
      schema: {
        tags,
        summary: 'Allocate an address of each family, or of one',
        querystring: schemas.ipamQuery,
        headers: schemas.ipamHeaders,
      },
    },
    ({ query, headers }, reply) =>
      reply.code(201).send(ipam.allocateNext({ ...query, expires: headers.expiration === true })),
  );
  server.post<ByIp & { Querystring: { readonly owner?: string } }>(
    '/v1/ipam/:ip',
    {
      schema: {
        tags,
        summary: 'Allocate this address',
        params: schemas.ipParams,
        querystring: schemas.ipamOwnerQuery,
      },
    },
    ({ params, query }, reply) => {
      ipam.allocate(params.ip, query.owner);
      return reply.code(200).send();
    },
  );
  server.delete<ByIp>(
    '/v1/ipam/:ip',
    { schema: { tags, summary: 'Release an address', params: schemas.ipParams } },
    ({ params }, reply) => {
      ipam.release(params.ip);
      return reply.code(200).send();
    },
  );
}
