import { createServer, type Server } from 'node:http';
import { Gauge, Registry, collectDefaultMetrics } from 'prom-client';
import type { MetricsMapFields } from '../api/models.ts';
import type { EndpointManager } from '../endpoint/manager.ts';
import type { IdentityRegistry } from '../identity/registry.ts';
import type { Ipam } from '../ipam/ipam.ts';
import { errorText, WeirError } from '../model/errors.ts';
import { IDENTITY_SCOPE } from '../model/identity.ts';
import type { PolicyEngine } from '../policy/contract.ts';
import type { ClusterHealth } from './cluster-health.ts';
import type { DnsControl } from './names/dns-control.ts';
import { nameMetrics } from './names/name-metrics.ts';
import type { Names } from './names/names.ts';
import { proxyMetrics } from './names/proxy-metrics.ts';
import type { NodeKernel } from './node-kernel.ts';
import type { OpenKvstore } from './open-kvstore.ts';
import { policyMapUses } from './policy-maps.ts';
import type { PolicyMetrics } from './policy-metrics.ts';
import type { ServiceMetrics } from './service-metrics.ts';

export interface MetricsParts {
  readonly version: string;
  readonly manager: EndpointManager;
  readonly identities: IdentityRegistry;
  readonly engine: PolicyEngine;
  readonly ipam: Ipam;
  readonly names: Names;
  readonly dns: DnsControl;
  readonly kernel: NodeKernel;
  readonly metrics: PolicyMetrics;
  readonly serviceMetrics: ServiceMetrics;
  readonly kvstore?: OpenKvstore;
  readonly clusterHealth?: ClusterHealth;
}

/** Gauges under Cilium's names, read when somebody asks. */
export function createMetrics(parts: MetricsParts): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  endpointMetrics(registry, parts);
  policyMetrics(registry, parts);
  policyMapMetrics(registry, parts);
  parts.metrics.register(registry);
  parts.serviceMetrics.register(registry);
  const { kvstore } = parts;
  kvstore?.metrics.register(registry, () => kvstore.store.backlog);
  const { clusterHealth } = parts;
  clusterHealth?.metrics.register(registry, () => clusterHealth.checker.report());
  nameMetrics(registry, parts.names);
  proxyMetrics(registry, () => parts.dns.counts);
  kernelMetrics(registry, parts);
  eventMetrics(registry, parts);
  const version = new Gauge({
    name: 'cilium_version',
    help: 'Version of the agent',
    labelNames: ['version', 'arch'],
    registers: [registry],
  });
  version.set({ version: parts.version, arch: process.arch }, 1);
  return registry;
}

function endpointMetrics(registry: Registry, { manager, ipam }: MetricsParts): void {
  const registers = [registry];
  new Gauge({
    name: 'cilium_endpoint',
    help: 'Number of endpoints',
    registers,
    collect() {
      this.set(manager.index.list().length);
    },
  });
  new Gauge({
    name: 'cilium_endpoint_state',
    help: 'Number of endpoints, by state',
    labelNames: ['endpoint_state'],
    registers,
    collect() {
      this.reset();
      for (const { state } of manager.index.list()) this.inc({ endpoint_state: state });
    },
  });
  new Gauge({
    name: 'cilium_policy_endpoint_enforcement_status',
    help: 'Number of endpoints, by the directions in which policy is enforced',
    labelNames: ['enforcement'],
    registers,
    collect() {
      this.reset();
      for (const { realized } of manager.index.list()) {
        const { ingress = false, egress = false } = realized?.enforced ?? {};
        this.inc({ enforcement: ingress && egress ? 'both' : ingress ? 'ingress' : egress ? 'egress' : 'none' });
      }
    },
  });
  new Gauge({
    name: 'cilium_ip_addresses',
    help: 'Number of addresses given out, by family',
    labelNames: ['family'],
    registers,
    collect() {
      if (ipam.ipv4 !== undefined) this.set({ family: 'ipv4' }, ipam.ipv4.used);
      if (ipam.ipv6 !== undefined) this.set({ family: 'ipv6' }, ipam.ipv6.used);
    },
  });
}

function policyMetrics(registry: Registry, { engine, identities }: MetricsParts): void {
  const registers = [registry];
  new Gauge({
    name: 'cilium_policy',
    help: 'Number of policies in force',
    registers,
    collect() {
      this.set(engine.policies().size);
    },
  });
  new Gauge({
    name: 'cilium_policy_max_revision',
    help: 'Revision of the policy repository',
    registers,
    collect() {
      this.set(engine.revision);
    },
  });
  new Gauge({
    name: 'cilium_identity',
    help: 'Number of identities, by scope',
    labelNames: ['type'],
    registers,
    collect() {
      this.reset();
      for (const { id } of identities.list()) this.inc({ type: scopeName(id) });
    },
  });
}

function policyMapMetrics(registry: Registry, { manager, kernel }: MetricsParts): void {
  new Gauge({
    name: 'cilium_bpf_map_pressure',
    help: 'Share of a map that is wanted; of policy maps that of the fullest. More than 1 does not fit.',
    labelNames: ['map_name'],
    registers: [registry],
    collect() {
      const uses = [...policyMapUses(manager.index.list(), kernel).values()];
      const shares = uses.map(({ entries, maxEntries }) => entries / maxEntries);
      this.set({ map_name: 'weir_policy_*' }, Math.max(0, ...shares));
    },
  });
  new Gauge({
    name: 'weir_endpoint_lockdown',
    help: 'Number of endpoints whose policy does not fit its map, so that all their traffic is dropped',
    registers: [registry],
    collect() {
      this.set(kernel.lockdowns().length);
    },
  });
}

function scopeName(id: number): string {
  if (id < IDENTITY_SCOPE.cluster.first) return 'reserved';
  return id >= IDENTITY_SCOPE.remoteNode.first
    ? 'remote_node'
    : id >= IDENTITY_SCOPE.local.first
      ? 'node_local'
      : 'cluster_local';
}

/** Packets, from the kernel's own counters. */
function kernelMetrics(registry: Registry, { kernel }: MetricsParts): void {
  const registers = [registry];
  const counter = (name: string, help: string, unit: 'packets' | 'bytes', dropped: boolean): void => {
    new Gauge({
      name,
      help,
      labelNames: dropped ? ['reason', 'direction'] : ['direction'],
      registers,
      async collect() {
        this.reset();
        for (const { reason, direction, [unit]: count } of await counters(kernel)) {
          if ((reason !== 'Success') !== dropped) continue;
          this.inc({ ...(dropped && { reason }), direction: direction.toUpperCase() }, count);
        }
      },
    });
  };
  counter('cilium_drop_count_total', 'Packets dropped, by reason', 'packets', true);
  counter('cilium_drop_bytes_total', 'Bytes dropped, by reason', 'bytes', true);
  counter('cilium_forward_count_total', 'Packets forwarded', 'packets', false);
  counter('cilium_forward_bytes_total', 'Bytes forwarded', 'bytes', false);
}

/** Events that nobody got to see. */
function eventMetrics(registry: Registry, { kernel }: MetricsParts): void {
  new Gauge({
    name: 'weir_events_left_out_total',
    help: 'Events of packets that nobody got to see, by type: lost for want of room, or more than the rate limit',
    labelNames: ['type', 'cause'],
    registers: [registry],
    collect() {
      for (const [type, { lost, limited }] of Object.entries(kernel.leftOut())) {
        this.set({ type, cause: 'lost' }, lost);
        this.set({ type, cause: 'limited' }, limited);
      }
    },
  });
}

async function counters(kernel: NodeKernel): Promise<readonly MetricsMapFields[]> {
  const { cache = [] } = await kernel.dump('weir_metrics');
  return cache.flatMap(({ fields }) => (fields === undefined ? [] : [fields as MetricsMapFields]));
}

/**
 * Serves `/metrics`.
 *
 * @throws WeirError CONFIG_INVALID when the address cannot be listened on.
 */
export async function serveMetrics(registry: Registry, listen: { host: string; port: number }): Promise<Server> {
  const server = createServer((request, response) => {
    if (request.url !== '/metrics') {
      response.writeHead(404).end();
      return;
    }
    registry.metrics().then(
      (text) => response.writeHead(200, { 'content-type': registry.contentType }).end(text),
      (error: unknown) => response.writeHead(500).end(errorText(error)),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => {
      reject(new WeirError('CONFIG_INVALID', `cannot listen: ${cause.message}`, { field: '--metrics-listen', cause }));
    });
    server.listen(listen.port, listen.host, resolve);
  });
  return server;
}
