import { availableParallelism } from 'node:os';
import { readFileSync } from 'node:fs';
import { release } from 'node:os';
import type * as models from '../../api/models.ts';
import type { ApiPhase, DaemonApi, EndpointApi, PolicyApi } from '../../api/server/contract.ts';
import type { Config } from '../../config/config.ts';
import type { EndpointManager } from '../../endpoint/manager.ts';
import type { Ipam } from '../../ipam/ipam.ts';
import { formatCidr } from '../../model/address.ts';
import { WeirError } from '../../model/errors.ts';
import { IDENTITY_SCOPE } from '../../model/identity.ts';
import type { Cluster } from '../cluster.ts';
import type { ClusterHealth } from '../cluster-health.ts';
import type { DnsControl } from '../names/dns-control.ts';
import type { NodeAddresses } from '../node-addresses.ts';
import type { MasqueradeSettings, NodeKernel } from '../node-kernel.ts';
import type { Health } from '../health.ts';
import { isPressed, policyMapUses } from '../policy-maps.ts';
import { nodeElements } from './cluster-model.ts';
import { nodeAddressing, optionsModel, policyMapModel } from './endpoint-model.ts';

export interface DaemonApiParts {
  readonly config: Config;
  readonly version: string;
  readonly health: Health;
  readonly kernel: NodeKernel;
  readonly cluster: Pick<Cluster, 'nodes'>;
  readonly clusterHealth?: Pick<ClusterHealth, 'status'>;
  readonly nodeAddresses: Pick<NodeAddresses, 'addresses'>;
  readonly manager: EndpointManager;
  readonly ipam: Ipam;
  readonly dns: Pick<DnsControl, 'listening'>;
  readonly endpoints: EndpointApi;
  readonly policy: PolicyApi;
  readonly monitor: DaemonApi['monitor'];
}

/** The agent itself, as the API shows it. */
export class DaemonApiAdapter implements DaemonApi {
  readonly #parts: DaemonApiParts;

  constructor(parts: DaemonApiParts) {
    this.#parts = parts;
  }

  get phase(): ApiPhase {
    return this.#parts.health.phase;
  }

  health(brief: boolean): models.StatusResponse {
    const { health, version, config, kernel } = this.#parts;
    const lockdowns = kernel.lockdowns();
    const lockdown =
      lockdowns.length === 0
        ? undefined
        : ({
            state: 'Warning',
            msg: `policy does not fit, all traffic is dropped: endpoints ${lockdowns.join(', ')}`,
          } as const);
    const own: models.Status = lockdown ?? health.status();
    const ciliumHealth: models.Status = this.#parts.clusterHealth?.status() ?? { state: 'Disabled' };
    // Whoever asks every few seconds whether all is well needs no list of all nodes.
    const wellbeing = {
      ...{ cilium: own, version, kvstore: health.kvstore(), kubernetes: health.resources() },
      controllers: this.#controllers(),
    };
    if (brief) return { ...wellbeing, cluster: { ciliumHealth } };
    const { self, 'nodes-added': nodes } = this.nodes();
    return {
      ...wellbeing,
      ...(health.readySince !== undefined && { 'ready-since': new Date(health.readySince).toISOString() }),
      'container-runtime': { state: 'Disabled' },
      hubble: { state: 'Disabled' },
      ipam: this.#ipam(),
      nodeMonitor: monitorModel(kernel),
      cluster: {
        self: self!,
        nodes: nodes!,
        ciliumHealth,
      },
      routing: routingModel(config),
      'identity-range': { 'min-identity': IDENTITY_SCOPE.cluster.first, 'max-identity': IDENTITY_SCOPE.cluster.last },
      'host-routing': { mode: config.routing.throughHost ? 'Legacy' : 'BPF' },
      'kube-proxy-replacement': {
        mode: 'True',
        devices: kernel.devices,
        features: {
          socketLB: {
            enabled: kernel.socketCgroup !== undefined,
            ...(kernel.socketCgroup !== undefined && { cgroup: kernel.socketCgroup }),
          },
          sessionAffinity: { enabled: true },
          gracefulTermination: { enabled: true },
        },
      },
      ...(this.#parts.dns.listening !== undefined && { proxy: proxyModel(this.#parts.dns.listening) }),
      'host-firewall': config.hostFirewall ? { mode: 'Enabled', devices: kernel.devices } : { mode: 'Disabled' },
      masquerading: masqueradingModel(kernel.masquerade),
      encryption: { mode: 'Disabled' },
      'clock-source': { mode: 'ktime' },
      'bpf-maps': { maps: kernel.maps().map(({ name, size }) => ({ name, size })) },
      endpoints: this.#endpointCounts(),
      ...this.#pressedMaps(),
      ...(health.gaps.size > 0 && { 'policy-gaps': Object.fromEntries(health.gaps) }),
    };
  }

  #pressedMaps(): Pick<models.StatusResponse, 'policy-maps'> {
    const { manager, kernel } = this.#parts;
    const pressed = [...policyMapUses(manager.index.list(), kernel)].filter(([, use]) => isPressed(use));
    if (pressed.length === 0) return {};
    return { 'policy-maps': Object.fromEntries(pressed.map(([id, use]) => [id, policyMapModel(use)])) };
  }

  config(): models.DaemonConfiguration {
    const { config, ipam, kernel } = this.#parts;
    const spec: models.DaemonConfigurationSpec = {
      options: optionsModel({ auditMode: config.policyAuditMode }),
      'policy-enforcement': config.policyEnforcement,
    };
    return {
      spec,
      status: {
        realized: spec,
        immutable: {
          ClusterName: config.clusterName,
          NodeName: config.nodeName,
          AllowLocalhost: config.allowLocalhost,
        },
        addressing: nodeAddressing(ipam),
        deviceMTU: kernel.mtu,
        routeMTU: kernel.mtu,
        datapathMode: 'veth',
        'ipam-mode': config.ipam === 'flags' ? 'host-scope' : config.ipam,
        masquerade: kernel.masquerade.ipv4 || kernel.masquerade.ipv6,
        masqueradeProtocols: { ipv4: kernel.masquerade.ipv4, ipv6: kernel.masquerade.ipv6 },
        daemonConfigurationMap: plainConfig(config),
      },
    };
  }

  patchConfig(spec: models.DaemonConfigurationSpec): Promise<void> {
    const { config } = this.#parts;
    const wanted = Object.entries(spec.options ?? {}).map(([name, value]) => [`body.options.${name}`, value] as const);
    const present = optionsModel({ auditMode: config.policyAuditMode });
    const changed = wanted.find(([field, value]) => present[field.slice('body.options.'.length)] !== value)?.[0];
    const enforcement = spec['policy-enforcement'] ?? config.policyEnforcement;
    const field = changed ?? (enforcement === config.policyEnforcement ? undefined : 'body.policy-enforcement');
    if (field === undefined) return Promise.resolve();
    throw new WeirError('REQUEST_INVALID', 'cannot be changed while the agent runs', {
      field,
      remedy: 'change the flag and start the agent again: it restores endpoints without touching their traffic',
    });
  }

  debugInfo(): Promise<models.DebugInfo> {
    const { version, endpoints, policy, manager, kernel } = this.#parts;
    const memory = process.memoryUsage();
    return Promise.resolve({
      'cilium-version': version,
      'kernel-version': release(),
      'cilium-status': this.health(false),
      'endpoint-list': endpoints.list([]),
      policy: policy.policy(),
      'cilium-memory-map': readFileSync('/proc/self/smaps_rollup', 'utf8'),
      'environment-variables': Object.entries(process.env)
        .filter(([name]) => name.startsWith('WEIR_'))
        .map(([name, value]) => `${name}=${value ?? ''}`),
      subsystem: {
        memory: Object.entries(memory)
          .map(([name, bytes]) => `${name}=${bytes}`)
          .join(' '),
        lockdowns: kernel.lockdowns().join(' '),
        endpoints: String(manager.index.list().length),
      },
    });
  }

  nodes(): models.ClusterNodeStatus {
    const { config, cluster, nodeAddresses } = this.#parts;
    return {
      self: `${config.clusterName}/${config.nodeName}`,
      'nodes-added': nodeElements(cluster.nodes, config, nodeAddresses.addresses),
    };
  }

  maps(): models.BPFMapList {
    return { maps: this.#parts.kernel.maps().map(({ path }) => ({ path })) };
  }

  map(name: string): Promise<models.BPFMap> {
    return this.#parts.kernel.dump(name);
  }

  flushMap(name: string): Promise<void> {
    return this.#parts.kernel.flush(name);
  }

  monitor(signal: AbortSignal, types: readonly models.MonitorEvent['type'][]): AsyncIterable<string> {
    return this.#parts.monitor(signal, types);
  }

  #ipam(): models.IPAMStatus {
    const { ipam } = this.#parts;
    const pools = [ipam.ipv4, ipam.ipv6].flatMap((pool, i) =>
      pool === undefined
        ? []
        : [`IPv${i === 0 ? 4 : 6}: ${pool.used}/${pool.capacity} allocated from ${formatCidr(pool.cidr)}`],
    );
    const all = Object.entries(ipam.allocations());
    return {
      status: pools.join(', '),
      allocations: Object.fromEntries(all),
      ipv4: all.filter(([ip]) => !ip.includes(':')).map(([ip]) => ip),
      ipv6: all.filter(([ip]) => ip.includes(':')).map(([ip]) => ip),
    };
  }

  #endpointCounts(): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const { state } of this.#parts.manager.index.list()) counts[state] = (counts[state] ?? 0) + 1;
    return counts;
  }

  /** One for each endpoint that cannot be brought up to date. */
  #controllers(): models.ControllerStatuses {
    return this.#parts.manager.index
      .list()
      .filter(({ failures }) => failures > 0)
      .map(({ id, failures, log: { last } }) => ({
        name: `endpoint-${id}-regeneration`,
        status: {
          'consecutive-failure-count': failures,
          ...(last && {
            'last-failure-msg': last.message,
            'last-failure-timestamp': new Date(last.time).toISOString(),
          }),
        },
      }));
  }
}

function routingModel({ routing }: Config): models.RoutingStatus {
  const tunnel = routing.mode === 'tunnel';
  return {
    'inter-host-routing-mode': tunnel ? 'Tunnel' : 'Native',
    'intra-host-routing-mode': 'BPF',
    ...(tunnel && { 'tunnel-protocol': 'vxlan' }),
  };
}

/** The configuration as flags would say it. */
function plainConfig({ podCidrs, masquerade, metricsListen, ...rest }: Config): Record<string, unknown> {
  return {
    ...rest,
    podCidrs: Object.values(podCidrs).map(formatCidr),
    masquerade: { ...masquerade, except: masquerade.except.map(formatCidr) },
    ...(metricsListen && { metricsListen: `${metricsListen.host}:${metricsListen.port}` }),
  };
}

/** The proxies' listeners: for now that of DNS. */
function proxyModel({ port, redirects }: NonNullable<DnsControl['listening']>): models.ProxyStatus {
  return { ip: '127.0.0.1', 'port-range': `${port}-${port}`, 'total-ports': 1, 'total-redirects': redirects };
}

function monitorModel(kernel: NodeKernel): models.MonitorStatus {
  const types = Object.entries(kernel.leftOut());
  const lost = types.reduce((sum, [, counts]) => sum + counts.lost, 0);
  const limited = types.flatMap(([type, counts]) => (counts.limited > 0 ? [[type, counts.limited] as const] : []));
  const none = { cpus: availableParallelism(), npages: 0, pagesize: 0, unknown: 0 };
  return { ...none, lost, ...(limited.length > 0 && { limited: Object.fromEntries(limited) }) };
}

function masqueradingModel({ ipv4, ipv6, except }: MasqueradeSettings): models.Masquerading {
  if (!ipv4 && !ipv6) return { enabled: false };
  return {
    ...{ enabled: true, mode: 'BPF', enabledProtocols: { ipv4, ipv6 } },
    'snat-exclusion-cidrs': except.map(formatCidr),
  };
}
