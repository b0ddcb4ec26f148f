/** What happens to services, counted under Cilium's names as it happens. */
import { Counter, Histogram, type Registry } from 'prom-client';

export type ServiceAction = 'add' | 'update' | 'delete';

/** Belongs to no registry until {@link ServiceMetrics.register}: it counts whether or not anybody will ask. */
export class ServiceMetrics {
  readonly #events = new Counter({
    name: 'cilium_services_events_total',
    help: 'Changes of services and of their endpoints that were heard of',
    labelNames: ['action'],
    registers: [],
  });
  readonly #delay = new Histogram({
    name: 'cilium_service_implementation_delay',
    help: 'Seconds from a change of a service or of its endpoints until the kernel knows',
    labelNames: ['action'],
    buckets: [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers: [],
  });

  constructor() {
    // A rate that starts with its first event shows nothing of it.
    for (const action of ['add', 'update', 'delete'] as const) this.#events.inc({ action }, 0);
  }

  heard(action: ServiceAction): void {
    this.#events.inc({ action });
  }

  /** @param milliseconds since the change was heard of */
  implemented(action: ServiceAction, milliseconds: number): void {
    this.#delay.observe({ action }, milliseconds / 1000);
  }

  register(registry: Registry): void {
    registry.registerMetric(this.#events);
    registry.registerMetric(this.#delay);
  }
}
