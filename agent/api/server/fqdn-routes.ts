import type { FastifyInstance } from 'fastify';
import type { AgentApi, NameFilter } from './contract.ts';
import * as schemas from './schemas.ts';

/** `/v1/fqdn`: what endpoints learned from DNS. */
export function fqdnRoutes(server: FastifyInstance, { names }: AgentApi): void {
  const tags = ['fqdn'];
  server.get<{ Querystring: NameFilter }>(
    '/v1/fqdn/cache',
    { schema: { tags, summary: 'Addresses that endpoints know by name', querystring: schemas.nameQuery } },
    ({ query }) => names.cache(undefined, query),
  );
  server.get<{ Params: { readonly id: string }; Querystring: NameFilter }>(
    '/v1/fqdn/cache/:id',
    {
      schema: {
        tags,
        summary: 'Addresses that one endpoint knows by name',
        description: schemas.ENDPOINT_ID_HELP,
        params: schemas.endpointParams,
        querystring: schemas.nameQuery,
      },
    },
    ({ params, query }) => names.cache(params.id, query),
  );
  server.delete<{ Querystring: { readonly matchpattern?: string } }>(
    '/v1/fqdn/cache',
    {
      schema: {
        tags,
        summary: 'Forget addresses; those of live connections stay until they end',
        querystring: schemas.namePatternQuery,
      },
    },
    async ({ query }, reply) => {
      names.clean(query.matchpattern);
      return reply.code(200).send();
    },
  );
  server.get('/v1/fqdn/names', { schema: { tags, summary: 'Names and patterns that policies use' } }, () =>
    names.selectors(),
  );
}
