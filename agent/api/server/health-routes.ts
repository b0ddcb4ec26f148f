import type { FastifyInstance } from 'fastify';
import type { AgentApi } from './contract.ts';

/** `/v1beta/status`: whether the nodes of the cluster can reach each other, as Cilium's health API has it. */
export function healthRoutes(server: FastifyInstance, { health }: AgentApi): void {
  const tags = ['connectivity'];
  server.get('/v1beta/status', { schema: { tags, summary: 'How the nodes were reached last' } }, () => health.status());
  server.put('/v1beta/status/probe', { schema: { tags, summary: 'Probe all nodes now' } }, () => health.probe());
}
