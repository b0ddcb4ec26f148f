import type { AgentApi, ApiPhase } from '../api/server/contract.ts';
import { createServer, listen } from '../api/server/server.ts';
import { errorText } from '../model/errors.ts';
import { resourceName, type Resource, type ResourceStatus } from '../model/resource.ts';
import { DaemonApiAdapter } from './api/daemon-api.ts';
import { EndpointApiAdapter } from './api/endpoint-api.ts';
import { HealthApiAdapter } from './api/health-api.ts';
import { IpamApiAdapter } from './api/ipam-api.ts';
import { NameApiAdapter } from './api/name-api.ts';
import { PolicyApiAdapter } from './api/policy-api.ts';
import { ServiceApiAdapter } from './api/service-api.ts';
import { CloudGroups } from './cloud-groups.ts';
import { drainDeleteQueue } from './delete-queue.ts';
import { ConnectionWatch } from './names/connection-watch.ts';
import { createMetrics, serveMetrics } from './metrics.ts';
import { monitorEvents } from './monitor.ts';
import { PolicyImporter } from './policy-importer.ts';
import { PrefixIdentities } from './prefix-identities.ts';
import { ResourceFeed } from './resource-feed.ts';
import { decodeOptions, openRooms, type AgentParts, type Rooms } from './rooms.ts';

/**
 * Starts an agent: identities and endpoints come back from disk, the API answers, resources come in, restored endpoints go
 * under the policies, what nobody knows any more is taken away, deletes that were left are done. Disposing of it leaves
 * everything in the kernel in force.
 *
 * @throws WeirError CONFIG_INVALID and what the kernel answers
 */
export async function startAgent(parts: AgentParts): Promise<AsyncDisposable> {
  await using undo = new AsyncDisposableStack();
  const rooms = await openRooms(parts);
  const { manager, nodeAddresses, kernelIpcache, families, services, cluster, keeper, announcer, kvstoreLink } = rooms;
  undo.defer(() => kernelIpcache.close());
  undo.defer(() => nodeAddresses.stop());
  undo.defer(() => rooms.names.stop());
  undo.defer(() => rooms.serviceHealth.stop());
  undo.defer(() => services.stop());
  await serve(rooms, undo);
  nodeAddresses.start(families);
  await restore(rooms);
  await followResources(rooms, undo);
  await manager.activate();
  undo.defer(() => cluster.stop());
  await cluster.begin();
  if (keeper !== undefined) undo.defer(() => keeper.stop());
  keeper?.begin();
  if (kvstoreLink !== undefined) undo.defer(() => kvstoreLink.stop());
  kvstoreLink?.begin();
  if (announcer !== undefined) undo.defer(() => announcer.close());
  announcer?.begin();
  await startDns(rooms, undo);
  await kernelIpcache.prune();
  // The last to be enforced: what its policy says of others must mean something.
  await rooms.host.begin();
  await drainQueue(rooms);
  undo.defer(() => rooms.policyMemory.settled());
  rooms.policyMemory.begin();
  enter(rooms, 'ready');
  const { clusterHealth } = rooms;
  if (clusterHealth !== undefined) {
    undo.defer(() => clusterHealth.stop());
    // Nobody's traffic waits for it. Faults are told, and its own to try again.
    void clusterHealth.begin();
  }
  undo.defer(() => manager.idle());
  return undo.move();
}

async function serve(rooms: Rooms, undo: AsyncDisposableStack): Promise<void> {
  const { config, version, logger } = rooms;
  const server = await createServer({ api: apiOf(rooms), version, logger });
  undo.defer(() => server.close());
  await listen(server, {
    path: config.socket,
    ...(config.socketGroup !== undefined && { group: config.socketGroup }),
  });
  if (config.metricsListen === undefined) return;
  const listener = await serveMetrics(createMetrics(rooms), config.metricsListen);
  undo.defer(() => void listener.close());
}

function apiOf(rooms: Rooms): AgentApi {
  const { identities, engine, ipcache, manager, kernel, ipam, clock, services, names, dns } = rooms;
  const endpoints = new EndpointApiAdapter(manager, kernel, ipam);
  const policy = new PolicyApiAdapter(identities, engine, ipcache, manager.index);
  return {
    endpoints,
    policy,
    trial: rooms.trial,
    services: new ServiceApiAdapter(services),
    names: new NameApiAdapter({ names, clock, endpoints: manager.index, cleaned: () => dns.forgetLeases() }),
    health: new HealthApiAdapter(rooms.clusterHealth?.checker, rooms.config.clusterName),
    ipam: new IpamApiAdapter(ipam, manager.index, clock),
    daemon: new DaemonApiAdapter({
      ...rooms,
      endpoints,
      policy,
      monitor: (signal, types) => monitorEvents(rooms, signal, types),
    }),
  };
}

async function restore(rooms: Rooms): Promise<void> {
  const { manager, names, logger } = rooms;
  const { restored, stale, problems } = await manager.restore();
  for (const problem of problems) logger.error({ code: problem.code }, problem.describe());
  // Before any policy is: its addresses are open when its endpoints are under it.
  const lost = names.restore((id) => manager.index.byId(id) !== undefined);
  if (lost !== undefined) logger.error({ code: lost.code }, lost.describe());
  logger.info({ restored: restored.length, stale: stale.length, problems: problems.length }, 'endpoints restored');
  enter(rooms, 'restored');
}

/** From here on names are asked for and learned: not before the policies are there that say which. */
async function startDns(
  { startDnsProxy, dns, names, manager, kernel }: Rooms,
  undo: AsyncDisposableStack,
): Promise<void> {
  kernel.watchCollections(new ConnectionWatch(names, (id) => manager.index.byId(id)?.addresses ?? []));
  dns.complete();
  if (startDnsProxy === undefined) return;
  dns.attach(undo.use(await startDnsProxy(dns, dns.lastPort)));
  // What a proxy learned while no agent ran must be known before anything is taken out of the kernel's ipcache.
  await names.settled();
}

/** Resolves when everything that existed at the start has been taken in. */
async function followResources(rooms: Rooms, undo: AsyncDisposableStack): Promise<void> {
  const { config, identities, ipcache, families, manager, kernelIpcache, engine, logger, pods, source, health } = rooms;
  const { metrics, clock, cloudGroups, names, services, kubernetes, kvstore, kvstoreLink } = rooms;
  const report = (status: ResourceStatus): void => reportStatus(rooms, status);
  const prefixes = new PrefixIdentities({
    ...{ identities, ipcache, families },
    settlePolicies: () => manager.settlePolicies(),
    flushIpcache: (changed) => kernelIpcache.flush(changed),
  });
  const importer = new PolicyImporter({
    ...{ engine, prefixes, names, report, metrics, clock },
    proxies: rooms.startDnsProxy === undefined ? [] : ['dns'],
    onGaps: (resource, gaps) => reportGaps(rooms, resource, gaps),
    onSource: (name) => rooms.trial.sourceSpoke(name),
    hostFirewall: config.hostFirewall,
    memory: rooms.policyMemory,
    cloudGroups: new CloudGroups(cloudGroups, (message) => logger.warn(message)),
    settlePolicies: () => manager.settlePolicies(),
    decode: decodeOptions(config),
    onError: (message, error) => logger.error({ err: error }, `${message}: ${errorText(error)}`),
  });
  rooms.trial.join(importer);
  undo.defer(() => rooms.trial.stop());
  const watching = cloudGroups?.watch(() => importer.cloudGroupsChanged());
  if (watching !== undefined) undo.use(watching);
  if (kubernetes !== undefined) health.setResources(() => kubernetes.status());
  if (kvstore !== undefined) health.setKvstore(() => kvstore.status());
  const feed = new ResourceFeed(pods, importer, services, rooms.cluster.feed, report);
  undo.defer(() => source.stop());
  const started = source.start((event) => {
    feed.handle(event);
    if (event.type !== 'delete') return;
    health.setRejected(resourceName(event.resource), false);
    health.setGaps(resourceName(event.resource), []);
  });
  // One is of no use without the other, and the agent can be stopped while it waits for both.
  await Promise.all([started, kvstoreLink?.follow()]);
  if (kubernetes === undefined) {
    const { manifests } = config;
    health.setResources(() =>
      manifests === undefined ? { state: 'Disabled', msg: '' } : { state: 'Ok', msg: `manifests in ${manifests}` },
    );
  }
  await Promise.all([importer.settled(), services.begin()]);
}

function enter({ health, logger, config }: Rooms, phase: ApiPhase): void {
  health.enter(phase);
  const message = phase === 'ready' ? 'ready' : 'endpoints are known, waiting for resources';
  logger.info({ phase, socket: config.socket }, message);
}

/** A rejected object leaves its previous version in force; whoever wrote it must learn of it. */
function reportStatus({ source, logger, health }: Rooms, status: ResourceStatus): void {
  const name = resourceName(status.resource);
  source.report(status);
  health.setRejected(name, !status.accepted);
  if (status.accepted) logger.info({ resource: name }, 'policy accepted');
  else
    for (const error of status.errors) logger.error({ resource: name }, `rejected, what was in force stays: ${error}`);
}

/** What a policy asks for and nothing here provides: its writer hears of it once, and `weir status` goes on saying it. */
function reportGaps({ logger, health }: Rooms, resource: Resource, gaps: readonly string[]): void {
  const name = resourceName(resource);
  if (!health.setGaps(name, gaps)) return;
  for (const gap of gaps) logger.warn({ resource: name }, `accepted, but not enforced in full: ${gap}`);
}

async function drainQueue({ config, logger, manager }: Rooms): Promise<void> {
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
