import type { FastifyBaseLogger } from 'fastify';
import type { DnsProxy, ProxyListener } from '../../dns-proxy/contract.ts';
import type { Config } from '../config/config.ts';
import type { EndpointEnvironment } from '../endpoint/environment.ts';
import { EndpointManager } from '../endpoint/manager.ts';
import { PodDirectory } from '../endpoint/pod-directory.ts';
import { EndpointStore } from '../endpoint/store.ts';
import { DEFAULT_NAME_LIMITS } from '../fqdn/namecache.ts';
import type { Families } from '../identity/cidr-labels.ts';
import { LabelFilter } from '../identity/label-filter.ts';
import type { IdentityAgreement } from '../identity/agreement.ts';
import { IdentityRegistry } from '../identity/registry.ts';
import { RESERVED_IDENTITIES } from '../identity/reserved.ts';
import { Ipcache } from '../ipcache/ipcache.ts';
import { IdentityObjects } from '../k8s/apiserver/identity-objects.ts';
import { addressesOf, type Ipam } from '../ipam/ipam.ts';
import type { LbNode } from '../loadbalancer/service.ts';
import { formatCidr, parseAddress, type Address, type Cidr } from '../model/address.ts';
import type { Clock } from '../model/clock.ts';
import { errorText } from '../model/errors.ts';
import type { ResourceSource } from '../model/resource.ts';
import { DEFAULT_DECODE_OPTIONS, type DecodeOptions } from '../policy/api/index.ts';
import { DEFAULT_POLICY_CONFIG } from '../policy/config.ts';
import type { PolicyEngine } from '../policy/contract.ts';
import { createPolicyEngine } from '../policy/engine.ts';
import { Cluster } from './cluster.ts';
import { Announcer } from './announcer.ts';
import { Announcers } from './announcers.ts';
import { ClusterHealth, type HealthParts } from './cluster-health.ts';
import type { CloudGroupResolver } from './cloud-groups.ts';
import { Health } from './health.ts';
import { IdentityKeeper, type KeptIdentities } from './identity-keeper.ts';
import { HostPorts } from './host-ports.ts';
import { HostEndpoint } from './host-endpoint.ts';
import type { Kubernetes } from './kubernetes.ts';
import { KernelIpcache } from './kernel-ipcache.ts';
import { KvstoreAnnouncer } from './kvstore-announcer.ts';
import { KvstoreLink } from './kvstore-link.ts';
import { DnsControl } from './names/dns-control.ts';
import type { ResolveName } from './names/name-poller.ts';
import { Names } from './names/names.ts';
import { ProxyPortFile } from './names/proxy-port.ts';
import { nameResolver } from './names/resolve-name.ts';
import { NodeAddresses } from './node-addresses.ts';
import type { NodeKernel } from './node-kernel.ts';
import type { OpenKvstore } from './open-kvstore.ts';
import { OwnNode, type OwnNodeOptions } from './own-node.ts';
import { PolicyMemory } from './policy-memory.ts';
import { PolicyMetrics } from './policy-metrics.ts';
import { PolicyTrial } from './policy-trial.ts';
import { ServiceMetrics } from './service-metrics.ts';
import { ServiceHealthServers } from './service-health.ts';
import { ServiceSync } from './service-sync.ts';

/** What an agent is made with. */
export interface AgentParts {
  readonly config: Config;
  readonly version: string;
  readonly clock: Clock;
  readonly logger: FastifyBaseLogger;
  readonly kernel: NodeKernel;
  readonly ipam: Ipam;
  readonly source: ResourceSource;
  /** Absent: there is no API server. */
  readonly kubernetes?: Pick<Kubernetes, 'server' | 'limiter' | 'status'>;
  /** Absent: there is no key-value store. */
  readonly kvstore?: OpenKvstore;
  /**
   * Starts the DNS proxy, on `port` if it can be had; 0 is any. Absent: there is none, and what policies divert to it is
   * dropped.
   */
  readonly startDnsProxy?: (listener: ProxyListener, port: number) => Promise<DnsProxy>;
  /** How the node asks for names that policies admit; that of the configuration when absent. */
  readonly resolveName?: ResolveName;
  /** Absent: nodes do not probe each other. */
  readonly healthParts?: HealthParts;
  /** Absent: groups of a cloud are empty. */
  readonly cloudGroups?: CloudGroupResolver;
}

/** The rooms of one agent, joined to each other. */
export interface Rooms extends AgentParts {
  readonly families: Families;
  readonly health: Health;
  readonly engine: PolicyEngine;
  readonly identities: IdentityRegistry;
  readonly ipcache: Ipcache;
  readonly kernelIpcache: KernelIpcache;
  readonly nodeAddresses: NodeAddresses;
  readonly names: Names;
  readonly dns: DnsControl;
  readonly pods: PodDirectory;
  readonly manager: EndpointManager;
  readonly metrics: PolicyMetrics;
  readonly services: ServiceSync;
  readonly serviceHealth: ServiceHealthServers;
  readonly serviceMetrics: ServiceMetrics;
  readonly cluster: Cluster;
  /** Absent where the numbers of identities are this node's own. */
  readonly keeper?: IdentityKeeper;
  readonly host: HostEndpoint;
  /** Absent where nobody is told of this node. */
  readonly announcer?: Announcers;
  /** Absent where there is no key-value store. */
  readonly kvstoreLink?: KvstoreLink;
  readonly trial: PolicyTrial;
  readonly policyMemory: PolicyMemory;
  /** Absent: nodes do not probe each other. */
  readonly clusterHealth?: ClusterHealth;
}

/** How policies are read. */
export function decodeOptions({ clusterName }: Pick<Config, 'clusterName'>): DecodeOptions {
  return { ...DEFAULT_DECODE_OPTIONS, clusterName };
}

/** Joins the rooms; identities come back from disk. Nothing runs yet. */
export async function openRooms(parts: AgentParts): Promise<Rooms> {
  const { config, clock, logger, kernel, ipam } = parts;
  const families = { ipv4: config.podCidrs.ipv4 !== undefined, ipv6: config.podCidrs.ipv6 !== undefined };
  const engine = createPolicyEngine({
    ...DEFAULT_POLICY_CONFIG,
    enforcement: config.policyEnforcement,
    allowLocalhost: config.allowLocalhost !== 'policy',
    hostFirewall: config.hostFirewall,
    clusterName: config.clusterName,
    enableIPv4: families.ipv4,
    enableIPv6: families.ipv6,
  });
  engine.apply({ identities: RESERVED_IDENTITIES });
  const objects = openAgreement(parts);
  const { registry: identities, problems } = await IdentityRegistry.open({
    ...(objects !== undefined && { agreement: objects }),
    stateDir: config.stateDir,
    clock,
    onChange: ({ added, removed }) =>
      engine.apply({ identities: added, removedIdentities: removed.map(({ id }) => id) }),
    onRenumbered: () => manager.identitiesRenumbered(),
  });
  for (const problem of problems) logger.error({ code: problem.code }, problem.describe());
  const ipcache = new Ipcache();
  const kernelIpcache = new KernelIpcache({
    ...{ ipcache, target: kernel.ipcache, type: kernel.ipcacheType, clock },
    onFailure: (prefix, error) => {
      logger.error({ err: error, prefix: formatCidr(prefix) }, 'the ipcache entry cannot be written');
    },
  });
  const metrics = new PolicyMetrics();
  const pods = new PodDirectory((change) => {
    manager.podChanged(change);
    if (change.name === undefined) return;
    announcer?.podChanged(change.namespace, change.name);
    hostPorts.podChanged(change.namespace, change.name);
  });
  const names = new Names({
    ...{ clock, ipcache, identities, families },
    path: `${config.stateDir}/names.jsonl`,
    resolve: parts.resolveName ?? nameResolver(config.names.resolvers),
    minTtl: config.names.minTtl,
    limits: { ...DEFAULT_NAME_LIMITS, ...config.names },
    settlePolicies: () => manager.settlePolicies(),
    flushIpcache: (prefixes) => kernelIpcache.flush(prefixes),
    onError: (message, error) => logger.error({ err: error }, `${message}: ${errorText(error)}`),
  });
  const dns = await openDnsControl(parts, names, () => manager);
  const announcer = openAnnouncers(parts, pods, {
    detected: () => nodeAddresses.addresses,
    health: () => clusterHealth?.addressing ?? {},
  });
  const manager = new EndpointManager({
    ...environmentOf(parts, { engine, identities, ipcache, kernelIpcache, pods, metrics, dns }),
    announcer: {
      setEndpoint: (endpoint) => hostPorts.setEndpoint(endpoint),
      removeEndpoint: (endpoint) => hostPorts.removeEndpoint(endpoint),
    },
  });
  const nodeAddresses = new NodeAddresses({
    ...{ ipcache, clock, always: addressesOf(ipam.routers) },
    onChange: (addresses) => {
      services.setNode(lbNode(config.nodeName, addresses, families));
      kernel.keepTranslations(addresses).catch((error: unknown) => {
        logger.error({ err: error }, `connections under lost addresses cannot be forgotten: ${errorText(error)}`);
      });
    },
  });
  const host = new HostEndpoint(manager, config.hostFirewall ? kernel.hostLink : undefined);
  const health = new Health(clock);
  const keeper =
    objects &&
    new IdentityKeeper({
      ...{ identities, objects, clock },
      onError: (message, error) => logger.error({ err: error }, `${message}: ${errorText(error)}`),
    });
  const cluster = new Cluster({
    ...{ config, clock, ipcache, identities, kernel, manager, nodeAddresses, host },
    ...(keeper !== undefined && { keeper }),
    ...(announcer !== undefined && { announcer }),
    onError: (message, error) => logger.error({ err: error }, `${message}: ${errorText(error)}`),
  });
  const kvstoreLink =
    parts.kvstore &&
    new KvstoreLink({
      ...{ kvstore: parts.kvstore.store, clock, identities, keeper: keeper!, nodes: cluster.nodes },
      endpoints: cluster.endpoints,
      onError: (message, error) => logger.error({ err: error }, `${message}: ${errorText(error)}`),
    });
  const ownPrefixes = Object.values<Cidr>({ ...config.podCidrs });
  const gatherPrefixes = (): void =>
    names.setPodPrefixes([...ownPrefixes, ...cluster.nodes.nodes().flatMap(({ podCidrs }) => podCidrs)]);
  gatherPrefixes();
  let nodesChanged = false;
  cluster.nodes.subscribe(() => {
    // Nodes of a large cluster come one by one, and each time all of them are looked at: so once a turn of the event loop.
    if (nodesChanged) return;
    nodesChanged = true;
    setImmediate(() => {
      nodesChanged = false;
      gatherPrefixes();
    });
  });
  const serviceMetrics = new ServiceMetrics();
  const serviceHealth = new ServiceHealthServers((message, error) =>
    logger.error({ err: error }, `${message}: ${errorText(error)}`),
  );
  const services = await ServiceSync.open({
    node: lbNode(config.nodeName, [], families),
    maglevTableSize: config.loadBalancing.maglevTableSize,
    ...{ target: kernel.services, clock, metrics: serviceMetrics },
    onHealth: (health) => serviceHealth.update(health),
    onError: (message, error) => logger.error({ err: error }, `${message}: ${errorText(error)}`),
  });
  const hostPorts = new HostPorts({ pods, services, endpoints: manager.index, next: announcer });
  const clusterHealth = openClusterHealth(parts, { families, manager, nodeAddresses, cluster, announcer });
  return {
    ...parts,
    families,
    health,
    engine,
    identities,
    ipcache,
    kernelIpcache,
    nodeAddresses,
    names,
    dns,
    pods,
    manager,
    metrics,
    services,
    serviceHealth,
    serviceMetrics,
    cluster,
    ...(keeper !== undefined && { keeper }),
    host,
    ...(announcer !== undefined && { announcer }),
    ...(kvstoreLink !== undefined && { kvstoreLink }),
    policyMemory: new PolicyMemory({
      directory: `${config.stateDir}/policies`,
      onError: (message, error) => logger.error({ err: error }, `${message}: ${errorText(error)}`),
    }),
    ...(clusterHealth !== undefined && { clusterHealth }),
    trial: new PolicyTrial({
      ...{ clock, decode: decodeOptions(config) },
      log: (message, policies) => logger.info({ policies }, `policy trial: ${message}`),
    }),
  };
}

async function openDnsControl(
  { config, clock, logger }: AgentParts,
  names: Names,
  manager: () => EndpointManager,
): Promise<DnsControl> {
  const file = new ProxyPortFile(config.stateDir);
  const { port, problem } = await file.read(clock);
  if (problem !== undefined) logger.error({ code: problem.code }, problem.describe());
  return new DnsControl({
    ...{ names, clock, port },
    endpoint: (id) => manager().index.byId(id),
    portsByName: (name, protocol) => manager().portsByName(name, protocol),
    onPort: (changed) => {
      manager().proxyPortsChanged();
      // Forgotten, it costs the next start a moment without DNS.
      file.write(changed).catch((error: unknown) => logger.error({ err: error }, errorText(error)));
    },
  });
}

/** Who tells the cluster of this node; undefined where there is nobody to tell. */
function openAnnouncers(
  { config, kubernetes, kvstore, clock, logger, ipam }: AgentParts,
  pods: PodDirectory,
  told: Pick<OwnNodeOptions, 'detected' | 'health'>,
): Announcers | undefined {
  if (kubernetes === undefined && kvstore === undefined) return undefined;
  const own = new OwnNode({ name: config.nodeName, routers: addressesOf(ipam.routers), ...told });
  const podCidrs = Object.values(config.podCidrs);
  const objects =
    kubernetes &&
    new Announcer({
      ...{ server: kubernetes.server, limiter: kubernetes.limiter, clock, own, pods },
      podCidrs: config.ipam === 'cluster-pool' ? undefined : podCidrs,
      onError: (message, error) => logger.error({ err: error }, `${message}: ${errorText(error)}`),
    });
  const keys =
    kvstore && new KvstoreAnnouncer({ keys: kvstore.store.keys, own, clusterName: config.clusterName, pods, podCidrs });
  return new Announcers(own, objects, keys);
}

/** Who probes the other nodes, and answers them; undefined where nobody is to. */
function openClusterHealth(
  { config, healthParts, clock, ipam, logger }: AgentParts,
  {
    families,
    manager,
    nodeAddresses,
    cluster,
    announcer,
  }: Pick<Rooms, 'families' | 'manager' | 'nodeAddresses' | 'cluster'> & { readonly announcer: Announcers | undefined },
): ClusterHealth | undefined {
  if (config.health === undefined || healthParts === undefined) return undefined;
  return new ClusterHealth({
    ...{ config: config.health, parts: healthParts, stateDir: config.stateDir, clusterName: config.clusterName },
    ...{ clock, families, nodes: cluster.nodes, manager, ipam },
    detected: () => nodeAddresses.addresses,
    onEndpoint: () => announcer?.nodeChanged(),
    onError: (message, error) => logger.error({ err: error }, `${message}: ${errorText(error)}`),
  });
}

/** Where the cluster agrees on identities; undefined where this node has its own. */
function openAgreement({ config, kubernetes, kvstore }: AgentParts): (IdentityAgreement & KeptIdentities) | undefined {
  if (kvstore !== undefined) return kvstore.store.identities;
  if (kubernetes === undefined || config.identityAllocation !== 'crd') return undefined;
  return new IdentityObjects({ server: kubernetes.server });
}

/**
 * Where node ports answer: at all addresses of the node, for its own sockets at its loopback's, and for clients on it at those
 * of any other node.
 */
function lbNode(name: string, addresses: readonly Address[], { ipv4, ipv6 }: Families): LbNode {
  const served = addresses.filter(({ family }) => (family === 4 ? ipv4 : ipv6));
  const more = [...(ipv4 ? ['127.0.0.1', '0.0.0.0'] : []), ...(ipv6 ? ['::1', '::'] : [])];
  return { name, addresses: [...served, ...more.map(parseAddress)] };
}

function environmentOf(
  { config, clock, logger, kernel, ipam, kubernetes, kvstore }: AgentParts,
  rooms: Pick<Rooms, 'engine' | 'identities' | 'ipcache' | 'kernelIpcache' | 'pods' | 'metrics' | 'dns'>,
): EndpointEnvironment {
  const { engine, identities, ipcache, kernelIpcache, pods, metrics, dns } = rooms;
  return {
    ...{ datapath: kernel.endpoints, identities, ipam, ipcache, policies: engine, proxies: dns, clock },
    flushIpcache: (prefixes) => kernelIpcache.flush(prefixes),
    store: new EndpointStore(`${config.stateDir}/endpoints`),
    labels: {
      pods,
      filter: new LabelFilter(config.labelRules),
      clusterName: config.clusterName,
      // A directory of manifests is all there is; an API server's objects may come later than their pods.
      podsMayBeLate: kubernetes !== undefined,
    },
    podWaitMs: config.podMetadataTimeout,
    identityGraceMs: kubernetes === undefined && kvstore === undefined ? 0 : config.identityChangeGrace,
    mtu: kernel.mtu,
    auditMode: config.policyAuditMode,
    bandwidthManager: config.bandwidthManager,
    regenerated: (outcome, milliseconds) => metrics.regenerated(outcome, milliseconds),
    report: (endpoint, message, error) => {
      logger.error({ err: error, endpoint: endpoint.id, pod: endpoint.podName }, `${endpoint.title}: ${message}`);
    },
  };
}
