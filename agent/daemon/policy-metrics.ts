/** What happens to policies and endpoints, counted under Cilium's names as it happens. */
import { Counter, Histogram, type Registry } from 'prom-client';

type Outcome = 'success' | 'fail';

/** Belongs to no registry until {@link PolicyMetrics.register}: it counts whether or not anybody will ask. */
export class PolicyMetrics {
  readonly #changes = new Counter({
    name: 'cilium_policy_change_total',
    help: 'Policy objects taken in, by whether they were accepted',
    labelNames: ['outcome'],
    registers: [],
  });
  readonly #delay = new Histogram({
    name: 'cilium_policy_implementation_delay',
    help: 'Seconds from a policy change to its enforcement at every endpoint',
    labelNames: ['source'],
    buckets: [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers: [],
  });
  readonly #regenerations = new Counter({
    name: 'cilium_endpoint_regenerations_total',
    help: 'Regenerations of endpoints that ended, by outcome',
    labelNames: ['outcome'],
    registers: [],
  });
  readonly #regenerationTime = new Histogram({
    name: 'cilium_endpoint_regeneration_time_stats_seconds',
    help: 'Seconds that regenerations took',
    labelNames: ['scope', 'status'],
    buckets: [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers: [],
  });

  constructor() {
    // A rate that starts with its first event shows nothing of it.
    for (const outcome of ['success', 'fail'] as const) {
      this.#changes.inc({ outcome }, 0);
      this.#regenerations.inc({ outcome }, 0);
    }
  }

  policyChanged(outcome: Outcome): void {
    this.#changes.inc({ outcome });
  }

  /** @param milliseconds since the change was heard of */
  policyImplemented(milliseconds: number): void {
    this.#delay.observe({ source: 'k8s' }, milliseconds / 1000);
  }

  regenerated(outcome: Outcome, milliseconds: number): void {
    this.#regenerations.inc({ outcome });
    this.#regenerationTime.observe(
      { scope: 'total', status: outcome === 'success' ? 'success' : 'failure' },
      milliseconds / 1000,
    );
  }

  register(registry: Registry): void {
    registry.registerMetric(this.#changes);
    registry.registerMetric(this.#delay);
    registry.registerMetric(this.#regenerations);
    registry.registerMetric(this.#regenerationTime);
  }
}
