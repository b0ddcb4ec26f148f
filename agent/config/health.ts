import type { KubernetesConfig } from './kubernetes.ts';
import type { KvstoreConfig } from './kvstore.ts';
import type { Reader } from './reader.ts';

/** How nodes probe each other. */
export interface HealthConfig {
  /** Whether pods are probed, too, by an endpoint that stands for them. */
  readonly endpoint: boolean;
  readonly port: number;
  /** Milliseconds, before it grows with the number of nodes. */
  readonly intervalMs: number;
  /** Echoes without an answer until an address counts as silent. */
  readonly echoes: number;
}

export function readHealth(
  reader: Reader,
  kubernetes: KubernetesConfig | undefined,
  kvstore: KvstoreConfig | undefined,
): HealthConfig | undefined {
  const mode = reader.oneOf('enable-health-checking', ['auto', 'true', 'false']);
  const health = {
    endpoint: reader.oneOf('enable-endpoint-health-checking', ['true', 'false']) === 'true',
    port: reader.number('cluster-health-port', 1, 65_535),
    intervalMs: reader.duration('health-check-interval'),
    echoes: reader.number('health-check-icmp-failure-threshold', 1, 10),
  };
  if (health.intervalMs < 10) reader.fail('health-check-interval', 'must be 10ms at least');
  // Alone with a directory of manifests, a node seldom has others to probe.
  const wanted = mode === 'true' || (mode === 'auto' && (kubernetes !== undefined || kvstore !== undefined));
  return wanted ? Object.freeze(health) : undefined;
}
