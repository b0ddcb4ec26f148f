/** The agent's connection to an API server, and how it stands, in words. */
import type { FastifyBaseLogger } from 'fastify';
import type { Status } from '../api/models.ts';
import type { KubernetesConfig } from '../config/kubernetes.ts';
import { ApiClient } from '../k8s/apiserver/client.ts';
import { EventRecorder } from '../k8s/apiserver/event-recorder.ts';
import { KubernetesSource, type KubernetesState } from '../k8s/apiserver/source.ts';
import { WriteLimiter } from '../k8s/apiserver/write-limiter.ts';
import type { Clock } from '../model/clock.ts';
import { VERSION } from '../model/version.ts';

export interface Kubernetes extends Disposable {
  readonly server: ApiClient;
  /** What is written in numbers goes through it. */
  readonly limiter: WriteLimiter;
  readonly source: KubernetesSource;
  status(): Status;
}

/**
 * @param withoutEndpoints what other agents announce is learned elsewhere
 * @throws WeirError CONFIG_INVALID when the credentials cannot be read.
 */
export async function openKubernetes(
  { kubeconfig, servers, heartbeatTimeout, endpointSlices, qps, burst }: KubernetesConfig,
  nodeName: string,
  clock: Clock,
  logger: FastifyBaseLogger,
  { withoutEndpoints = false }: { readonly withoutEndpoints?: boolean } = {},
): Promise<Kubernetes> {
  // Only those who speak to an API server carry the library for its credentials.
  const { Credentials } = await import('../k8s/apiserver/credentials.ts');
  const credentials = Credentials.load({ kubeconfig, servers, clock });
  const server = new ApiClient({ credentials, userAgent: `weir-agent/${VERSION}`, clock });
  const limiter = new WriteLimiter({ clock, qps, burst });
  const events = new EventRecorder({
    ...{ server, limiter, clock, nodeName },
    onError: (message, error) => logger.warn({ err: error }, message),
  });
  const told = new Map<string, string>();
  const source = new KubernetesSource({
    ...{ server, clock, nodeName, endpointSlices, withoutEndpoints, heartbeatMs: heartbeatTimeout },
    onStatus: (status) => void events.record(status),
    onState: (state) => logState(state, told, logger),
    onIssue: ({ object, field, message }) => logger.error({ resource: object, field }, `left out: ${field} ${message}`),
  });
  return {
    server,
    limiter,
    source,
    status: () => statusOf(source.state, server.server),
    [Symbol.dispose]: () => server.close(),
  };
}

/** How it stands, for `weir status`. */
export function statusOf({ failing, since, absent, waiting }: KubernetesState, server: string): Status {
  const first = [...failing][0];
  const missing = absent.length === 0 ? '' : `; not defined there: ${absent.join(', ')}`;
  const [kind, error] = first ?? [];
  if (waiting.length > 0) {
    const why = error === undefined ? '' : `: ${kind}: ${error}`;
    return { state: 'Failure', msg: `${server}: waiting for ${waiting.join(', ')}${why}${missing}` };
  }
  if (error === undefined) return { state: 'Ok', msg: `${server}${missing}` };
  const others = failing.size > 1 ? ` (and ${failing.size - 1} more)` : '';
  const time = new Date(since ?? 0).toISOString();
  return {
    state: 'Warning',
    msg: `${server}: cut off since ${time}, what was known stays enforced: ${kind}${others}: ${error}${missing}`,
  };
}

/** Says what begins to go wrong and what has come right; not every attempt in between. */
function logState({ failing, absent }: KubernetesState, told: Map<string, string>, logger: FastifyBaseLogger): void {
  const now = new Map<string, string>([...failing, ...absent.map((kind) => [kind, 'is not defined there'] as const)]);
  for (const [kind, error] of now) {
    if (told.get(kind) !== error) logger.warn({ kind }, `cannot be followed, what was known stays: ${error}`);
  }
  for (const kind of told.keys()) if (!now.has(kind)) logger.info({ kind }, 'followed again');
  told.clear();
  for (const [kind, error] of now) told.set(kind, error);
}
