/** The agent's connection to a key-value store, and how it stands, in words. */
import type { FastifyBaseLogger } from 'fastify';
import type { Status } from '../api/models.ts';
import type { Config } from '../config/config.ts';
import type { Kvstore, KvstoreState } from '../kvstore/kvstore.ts';
import type { Clock } from '../model/clock.ts';
import { errorText } from '../model/errors.ts';
import { KvstoreMetrics } from './kvstore-metrics.ts';

export interface OpenKvstore {
  readonly store: Kvstore;
  readonly metrics: KvstoreMetrics;
  status(): Status;
}

/** Undefined where there is none. @throws WeirError CONFIG_INVALID when its configuration cannot be read */
export async function openKvstore(
  { kvstore, nodeName, clusterName, stateDir }: Config,
  clock: Clock,
  logger: FastifyBaseLogger,
): Promise<OpenKvstore | undefined> {
  if (kvstore === undefined) return undefined;
  // Only those who speak to a store carry the libraries for it.
  const [{ Kvstore: Opened }, { loadEtcdConfig }] = await Promise.all([
    import('../kvstore/kvstore.ts'),
    import('../kvstore/etcd/config.ts'),
  ]);
  const metrics = new KvstoreMetrics();
  const store = new Opened({
    config: loadEtcdConfig(kvstore),
    reload: () => loadEtcdConfig(kvstore),
    ...{ clock, nodeName, clusterName, ttlSeconds: kvstore.leaseTtlSeconds, path: `${stateDir}/kvstore-lease.json` },
    onError: (message, error) => logger.warn({ err: error }, `${message}: ${errorText(error)}`),
    onOperation: (operation) => metrics.operation(operation),
    onQuorumError: (error) => metrics.quorumError(error),
  });
  return { store, metrics, status: () => statusOf(store.state) };
}

/** How it stands, for `weir status`. */
export function statusOf({ endpoint, lease, heartbeat, waiting, error, since, failed }: KvstoreState): Status {
  const why = error === undefined ? '' : `: ${errorText(error)}`;
  const name = `etcd ${endpoint}`;
  if (waiting.length > 0) return { state: 'Failure', msg: `${name}: waiting for ${waiting.join(', ')}${why}` };
  if (since !== undefined) {
    const time = new Date(since).toISOString();
    return { state: 'Warning', msg: `${name}: cut off since ${time}, what was known stays enforced${why}` };
  }
  if (failed > 0) return { state: 'Warning', msg: `${name}: ${failed} keys of this node cannot be written` };
  const beat = heartbeat === undefined ? 'no operator writes there' : `operator heard at ${heartbeat}`;
  return { state: 'Ok', msg: `${name}: lease ${lease ?? 'none'}, ${beat}` };
}
