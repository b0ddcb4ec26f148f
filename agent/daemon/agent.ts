import type { FastifyBaseLogger } from 'fastify';
import type { ApiPhase, AgentApi } from '../api/server/contract.ts';
import { createServer, listen } from '../api/server/server.ts';
import type { Config } from '../config/config.ts';
import { LabelFilter } from '../identity/label-filter.ts';
import { RESERVED_IDENTITIES } from '../identity/reserved.ts';
import { IdentityRegistry } from '../identity/registry.ts';
import type { EndpointEnvironment } from '../endpoint/environment.ts';
import { EndpointManager } from '../endpoint/manager.ts';
import { PodDirectory } from '../endpoint/pod-directory.ts';
import { EndpointStore } from '../endpoint/store.ts';
import { Ipcache } from '../ipcache/ipcache.ts';
import { addressesOf, type Ipam } from '../ipam/ipam.ts';
import { formatCidr } from '../model/address.ts';
import type { Clock } from '../model/clock.ts';
import { errorText } from '../model/errors.ts';
import { resourceName, type ResourceSource, type ResourceStatus } from '../model/resource.ts';
import { DEFAULT_DECODE_OPTIONS } from '../policy/api/index.ts';
import { DEFAULT_POLICY_CONFIG } from '../policy/config.ts';
import { createPolicyEngine } from '../policy/engine.ts';
import { DaemonApiAdapter } from './api/daemon-api.ts';
import { EndpointApiAdapter } from './api/endpoint-api.ts';
import { IpamApiAdapter } from './api/ipam-api.ts';
import { PolicyApiAdapter } from './api/policy-api.ts';
import { drainDeleteQueue } from './delete-queue.ts';
import { Health } from './health.ts';
import { KernelIpcache } from './kernel-ipcache.ts';
import { createMetrics, serveMetrics } from './metrics.ts';
import { monitorEvents } from './monitor.ts';
import { NodeAddresses } from './node-addresses.ts';
import type { NodeKernel } from './node-kernel.ts';
import { PolicyImporter } from './policy-importer.ts';
import { PrefixIdentities } from './prefix-identities.ts';
import { ResourceFeed } from './resource-feed.ts';

export interface AgentParts {
  readonly config: Config;
  readonly version: string;
  readonly clock: Clock;
  readonly logger: FastifyBaseLogger;
  readonly kernel: NodeKernel;
  readonly ipam: Ipam;
  readonly source: ResourceSource;
}

/**
 * The whole agent, wired. Starting: identities and endpoints come back from disk, the API answers, resources come in,
 * restored endpoints go under the policies, what nobody knows any more is taken away, deletes that were left are done.
 * Stopping leaves everything in the kernel in force.
 */
export async function startAgent(parts: AgentParts): Promise<AsyncDisposable> {
  const { config, clock, logger, kernel, ipam, source, version } = parts;
  await using undo = new AsyncDisposableStack();
  const families = { ipv4: config.podCidrs.ipv4 !== undefined, ipv6: config.podCidrs.ipv6 !== undefined };
  const health = new Health(clock);
  const engine = createPolicyEngine({
    ...DEFAULT_POLICY_CONFIG,
    enforcement: config.policyEnforcement,
    allowLocalhost: config.allowLocalhost !== 'policy',
    clusterName: config.clusterName,
    enableIPv4: families.ipv4,
    enableIPv6: families.ipv6,
  });
  engine.apply({ identities: RESERVED_IDENTITIES });
  const { registry: identities, problems } = await IdentityRegistry.open({
    stateDir: config.stateDir,
    clock,
    onChange: ({ added, removed }) =>
      engine.apply({ identities: added, removedIdentities: removed.map(({ id }) => id) }),
  });
  for (const problem of problems) logger.error({ code: problem.code }, problem.describe());

  const ipcache = new Ipcache();
  const kernelIpcache = new KernelIpcache({
    ipcache,
    target: kernel.ipcache,
    type: kernel.ipcacheType,
    clock,
    onFailure: (prefix, error) =>
      logger.error({ err: error, prefix: formatCidr(prefix) }, 'the ipcache entry cannot be written'),
  });
  undo.defer(() => kernelIpcache.close());
  const nodeAddresses = new NodeAddresses({ ipcache, clock, always: addressesOf(ipam.routers) });
  undo.defer(() => nodeAddresses.stop());

  const pods = new PodDirectory((change) => manager.podChanged(change));
  const environment: EndpointEnvironment = {
    datapath: kernel.endpoints,
    identities,
    ipam,
    ipcache,
    flushIpcache: (prefixes) => kernelIpcache.flush(prefixes),
    policies: engine,
    store: new EndpointStore(`${config.stateDir}/endpoints`),
    labels: {
      pods,
      filter: new LabelFilter(config.labelRules),
      clusterName: config.clusterName,
      // A directory of manifests is all there is; an API server's objects may come later than their pods.
      podsMayBeLate: config.manifests === undefined,
    },
    clock,
    mtu: kernel.mtu,
    auditMode: config.policyAuditMode,
    report: (endpoint, message, error) => {
      logger.error({ err: error, endpoint: endpoint.id, pod: endpoint.podName }, `${endpoint.title}: ${message}`);
    },
  };
  const manager = new EndpointManager(environment);
  const api = apiOf(parts, { health, manager, identities, engine, ipcache });
  const server = await createServer({ api, version, logger });
  undo.defer(() => server.close());
  await listen(server, { path: config.socket, ...(config.socketGroup !== undefined && { group: config.socketGroup }) });
  if (config.metricsListen !== undefined) {
    const metrics = createMetrics({ version, manager, identities, engine, ipam, kernel });
    const listener = await serveMetrics(metrics, config.metricsListen);
    undo.defer(() => void listener.close());
  }

  nodeAddresses.start(families);
  const restored = await manager.restore();
  for (const problem of restored.problems) logger.error({ code: problem.code }, problem.describe());
  logger.info(
    { restored: restored.restored.length, stale: restored.stale.length, problems: restored.problems.length },
    'endpoints restored',
  );
  enter(parts, health, 'restored');

  const report = (status: ResourceStatus): void => reportStatus(parts, health, status);
  const prefixes = new PrefixIdentities({
    identities,
    ipcache,
    families,
    settlePolicies: () => manager.settlePolicies(),
    flushIpcache: (changed) => kernelIpcache.flush(changed),
  });
  const importer = new PolicyImporter({
    engine,
    decode: { ...DEFAULT_DECODE_OPTIONS, clusterName: config.clusterName },
    prefixes,
    report,
    onError: (message, error) => logger.error({ err: error }, `${message}: ${errorText(error)}`),
  });
  const feed = new ResourceFeed(pods, importer, report);
  undo.defer(() => source.stop());
  await source.start((event) => {
    feed.handle(event);
    if (event.type === 'delete') health.setRejected(resourceName(event.resource), false);
  });
  health.setResources({ state: config.manifests === undefined ? 'Disabled' : 'Ok', msg: config.manifests ?? '' });
  await importer.settled();
  await manager.activate();
  await kernelIpcache.resync();
  await drainQueue(parts, manager);
  enter(parts, health, 'ready');
  const all = undo.move();
  return {
    [Symbol.asyncDispose]: async () => {
      await manager.idle();
      await all[Symbol.asyncDispose]();
    },
  };
}

type Rooms = {
  readonly health: Health;
  readonly manager: EndpointManager;
  readonly identities: IdentityRegistry;
  readonly engine: ReturnType<typeof createPolicyEngine>;
  readonly ipcache: Ipcache;
};

function apiOf({ config, version, kernel, ipam, clock }: AgentParts, rooms: Rooms): AgentApi {
  const { health, manager, identities, engine, ipcache } = rooms;
  const endpoints = new EndpointApiAdapter(manager, kernel.endpoints, ipam);
  const policy = new PolicyApiAdapter(identities, engine, ipcache, manager.index);
  return {
    endpoints,
    policy,
    ipam: new IpamApiAdapter(ipam, manager.index, clock),
    daemon: new DaemonApiAdapter({
      ...{ config, version, health, kernel, manager, ipam, endpoints, policy },
      monitor: (signal) => monitorEvents({ kernel, identities, ipcache, engine }, signal),
    }),
  };
}

function enter({ logger, config }: AgentParts, health: Health, phase: ApiPhase): void {
  health.enter(phase);
  logger.info(
    { phase, socket: config.socket },
    phase === 'ready' ? 'ready' : 'endpoints are known, waiting for resources',
  );
}

/** A rejected object leaves its previous version in force; whoever wrote it must learn of it. */
function reportStatus({ source, logger }: AgentParts, health: Health, status: ResourceStatus): void {
  const name = resourceName(status.resource);
  source.report(status);
  health.setRejected(name, !status.accepted);
  if (status.accepted) logger.info({ resource: name }, 'policy accepted');
  else
    for (const error of status.errors) logger.error({ resource: name }, `rejected, what was in force stays: ${error}`);
}

async function drainQueue({ config, logger }: AgentParts, manager: EndpointManager): Promise<void> {
  const done = await drainDeleteQueue(
    config.deleteQueue,
    async ({ containerId, containerIfName }) => {
      const concerned = manager.index
        .list()
        .filter(({ attachment }) => attachment.containerId === containerId)
        .filter(({ attachment }) => containerIfName === undefined || attachment.containerIfName === containerIfName);
      await Promise.all(concerned.map((endpoint) => manager.remove(endpoint)));
    },
    (file, message) => logger.error({ file }, `queued delete: ${message}`),
  );
  if (done > 0) logger.info({ done }, 'deletes that were left while the agent was away are done');
}
