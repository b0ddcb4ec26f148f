import { Gauge, Histogram, type Registry } from 'prom-client';
import type { Answer } from '../health/checker.ts';
import { reachability, type HealthReport, type NodeHealth } from '../health/report.ts';

/** Seconds: nodes of one rack to nodes of two continents. */
const BUCKETS = [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** How nodes reach each other, under Cilium's names. */
export class HealthMetrics {
  readonly #source: { readonly source_cluster: string; readonly source_node_name: string };
  readonly #latency = new Histogram({
    name: 'cilium_node_health_connectivity_latency_seconds',
    help: 'Time until nodes and their health endpoints answered probes of this node',
    labelNames: ['source_cluster', 'source_node_name', 'type', 'protocol', 'address_type'],
    buckets: BUCKETS,
    registers: [],
  });

  constructor(cluster: string, node: string) {
    this.#source = { source_cluster: cluster, source_node_name: node };
  }

  observe({ type, protocol, primary, nanoseconds }: Answer): void {
    const labels = { ...this.#source, type, protocol, address_type: primary ? 'primary' : 'secondary' };
    this.#latency.observe(labels, nanoseconds / 1e9);
  }

  /** @param report asked each time */
  register(registry: Registry, report: () => HealthReport): void {
    registry.registerMetric(this.#latency);
    const source = this.#source;
    new Gauge({
      name: 'cilium_node_health_connectivity_status',
      help: 'Number of nodes and health endpoints, by whether they answered the last probe of this node',
      labelNames: ['source_cluster', 'source_node_name', 'type', 'status'],
      registers: [registry],
      collect() {
        const { nodes } = report();
        for (const type of ['node', 'endpoint'] as const)
          for (const status of ['reachable', 'unreachable', 'unknown'] as const)
            this.set({ ...source, type, status }, count(nodes, type, status));
      },
    });
    const unreachable = (name: string, help: string, type: Answer['type']): void => {
      new Gauge({
        ...{ name, help, registers: [registry] },
        collect() {
          this.set(count(report().nodes, type, 'unreachable'));
        },
      });
    };
    unreachable('cilium_unreachable_nodes', 'Number of nodes that cannot be reached', 'node');
    unreachable('cilium_unreachable_health_endpoints', 'Number of health endpoints that cannot be reached', 'endpoint');
  }
}

function count(nodes: readonly NodeHealth[], type: Answer['type'], status: string): number {
  return nodes.filter(({ host, endpoint }) => reachability(type === 'node' ? host : endpoint) === status).length;
}
