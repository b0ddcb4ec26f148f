/** Dealings with the key-value store, counted under Cilium's names as they happen. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { EtcdOperation } from '../kvstore/etcd/client.ts';
import { WeirError } from '../model/errors.ts';

/** Belongs to no registry until {@link KvstoreMetrics.register}: it counts whether or not anybody will ask. */
export class KvstoreMetrics {
  readonly #operations = new Histogram({
    name: 'cilium_kvstore_operations_duration_seconds',
    help: 'Seconds that requests to the key-value store took',
    labelNames: ['scope', 'kind', 'action', 'outcome'],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers: [],
  });
  readonly #quorumErrors = new Counter({
    name: 'cilium_kvstore_quorum_errors_total',
    help: 'Requests that only a store with a quorum answers, and that failed',
    labelNames: ['error'],
    registers: [],
  });

  operation({ action, kind, key, milliseconds, failed }: EtcdOperation): void {
    const labels = { scope: scopeOf(key), kind, action, outcome: failed ? 'fail' : 'success' };
    this.#operations.observe(labels, milliseconds / 1000);
  }

  quorumError(error: unknown): void {
    this.#quorumErrors.inc({ error: error instanceof WeirError ? error.code : 'INTERNAL' });
  }

  /** @param backlog keys that are to be written still; asked each time */
  register(registry: Registry, backlog: () => number): void {
    registry.registerMetric(this.#operations);
    registry.registerMetric(this.#quorumErrors);
    new Gauge({
      name: 'cilium_kvstore_sync_queue_size',
      help: 'Keys of this node that are to be written to the key-value store',
      registers: [registry],
      collect() {
        this.set(backlog());
      },
    });
  }
}

/** `identities/v1` of `cilium/state/identities/v1/id/256`. */
function scopeOf(key: string): string {
  const parts = key.split('/');
  return parts.length < 4 ? key.slice(0, 12) : `${parts[2]}/${parts[3]}`;
}
