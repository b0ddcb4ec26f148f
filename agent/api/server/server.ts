import { chmod, chown, lstat, mkdir, readFile, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import swagger from '@fastify/swagger';
import { Ajv, type AnySchema } from 'ajv';
import Fastify, { LogController, type FastifyBaseLogger, type FastifyInstance } from 'fastify';
import { errorText, WeirError } from '../../model/errors.ts';
import type { AgentApi } from './contract.ts';
import { daemonRoutes } from './daemon-routes.ts';
import { endpointRoutes } from './endpoint-routes.ts';
import { sendFault } from './faults.ts';
import { fqdnRoutes } from './fqdn-routes.ts';
import { healthRoutes } from './health-routes.ts';
import { ipamRoutes, policyRoutes, serviceRoutes, trialRoutes } from './policy-routes.ts';

export interface ServerOptions {
  readonly api: AgentApi;
  readonly version: string;
  /** Requests are logged with it, at level debug. */
  readonly logger: FastifyBaseLogger;
}

/** The schemas are our own: a test holds them against the schema of schemas, which takes long to compile. */
const OWN_SCHEMAS = { allErrors: false, meta: false, validateSchema: false } as const;
/** Bodies are taken as they are: a number in quotes is no number, a field that is not known is refused. */
const bodies = new Ajv(OWN_SCHEMAS);
/** Paths, queries and headers are text. */
const texts = new Ajv({ ...OWN_SCHEMAS, coerceTypes: true });

/** What is answered although the agent is not ready. */
const ALWAYS: ReadonlySet<string> = new Set(['/v1/healthz', '/v1/openapi.json', '/v1/monitor']);

/** The agent's API as a server that does not listen yet: routes, validation, description. */
export async function createServer({ api, version, logger }: ServerOptions): Promise<FastifyInstance> {
  const server = Fastify({
    loggerInstance: logger,
    logController: new LogController({ disableRequestLogging: true }),
    // Monitors and long builds take their time; runtimes have deadlines of their own.
    requestTimeout: 0,
    // Ids are limited by their schema; fastify's own limit is 100 characters, beyond which it answers 404.
    routerOptions: { maxParamLength: 1024 },
    forceCloseConnections: true,
  });
  server.setErrorHandler((error, request, reply) => sendFault(error, request, reply));
  server.setValidatorCompiler(({ schema, httpPart }) => compiledAtNeed(httpPart === 'body' ? bodies : texts, schema));
  // The peer's clients send the labels of a list with GET.
  server.addHttpMethod('GET', { hasBody: true, overrideExisting: true });
  server.setNotFoundHandler((request, reply) => {
    sendFault(new WeirError('REQUEST_INVALID', `there is no ${request.method} ${request.url}`), request, reply, 404);
  });
  // Clients of the peer send a JSON content type without a body.
  server.addContentTypeParser('application/json', { parseAs: 'string' }, (_request, body: string, done) => {
    try {
      done(null, body === '' ? undefined : JSON.parse(body));
    } catch (cause) {
      done(new WeirError('REQUEST_INVALID', `the body is not JSON: ${errorText(cause)}`, { field: 'body', cause }));
    }
  });
  await server.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Weir agent', version, description: 'Paths and models follow Cilium’s agent API v1.' },
    },
  });
  server.addHook('onRequest', (request, _reply, done) => {
    done(refusal(api, request.method, request.routeOptions.url ?? request.url));
  });
  server.after(() => {
    endpointRoutes(server, api);
    policyRoutes(server, api);
    trialRoutes(server, api);
    serviceRoutes(server, api);
    fqdnRoutes(server, api);
    ipamRoutes(server, api);
    healthRoutes(server, api);
    daemonRoutes(server, api);
    server.get('/v1/openapi.json', { schema: { hide: true } }, () => server.swagger());
  });
  await server.ready();
  return server;
}

/** To compile the schemas of all routes takes a good part of a start, and most routes are never asked. */
function compiledAtNeed(ajv: Ajv, schema: AnySchema): (data: unknown) => { value: unknown } | { error: Error } {
  return (data) => {
    // Compiled once: ajv remembers.
    const validate = ajv.compile(schema);
    return validate(data) ? { value: data } : { error: validate.errors as unknown as Error };
  };
}

/** Why a request is not taken yet, if so. */
function refusal({ daemon }: AgentApi, method: string, url: string): WeirError | undefined {
  const { phase } = daemon;
  if (phase === 'ready' || ALWAYS.has(url) || (phase === 'restored' && method === 'GET')) return undefined;
  const what =
    phase === 'starting' ? 'the agent is restoring its state' : 'the agent is waiting for resources to come in';
  return new WeirError('AGENT_STARTING', what);
}

export interface SocketOptions {
  readonly path: string;
  /** Name of the group that may speak to the agent; root's when absent. */
  readonly group?: string;
}

/**
 * Listens on a Unix socket of mode 0660. A socket that a crashed agent left is replaced; one that answers is not.
 *
 * @throws WeirError CONFIG_INVALID
 */
export async function listen(server: FastifyInstance, { path, group }: SocketOptions): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const gid = group === undefined ? 0 : await groupId(group);
  await clearStaleSocket(path);
  // The socket exists before its mode can be set: until then nobody else may connect.
  const umask = process.umask(0o117);
  try {
    await server.listen({ path });
  } finally {
    process.umask(umask);
  }
  await chown(path, 0, gid);
  await chmod(path, 0o660);
}

async function clearStaleSocket(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw new WeirError('CONFIG_INVALID', `${path} exists and is no socket`, { field: 'socket' });
  }
  if (await answers(path)) {
    throw new WeirError('CONFIG_INVALID', `another agent listens on ${path}`, {
      field: 'socket',
      remedy: 'stop the other agent, or give this one a socket of its own with --socket',
    });
  }
  await rm(path, { force: true });
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const end = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
  });
}

async function groupId(name: string): Promise<number> {
  if (/^\d+$/.test(name)) return Number(name);
  const file = await readFile('/etc/group', 'utf8');
  const line = file.split('\n').find((entry) => entry.startsWith(`${name}:`));
  const gid = Number(line?.split(':')[2]);
  if (line === undefined || !Number.isInteger(gid)) {
    throw new WeirError('CONFIG_INVALID', `there is no group ${JSON.stringify(name)}`, { field: 'socket-group' });
  }
  return gid;
}
