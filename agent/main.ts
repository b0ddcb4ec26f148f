/** weir-agent: the brain of one node. This file turns a command line into a running agent, and ends it. */
import { existsSync, rmSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import pino from 'pino';
import { readInvocation, type Config, type Invocation } from './config/config.ts';
import { helpText } from './config/options.ts';
import { startAgent } from './daemon/agent.ts';
import { CloudGroupFile } from './daemon/cloud-group-file.ts';
import { openKubernetes, type Kubernetes } from './daemon/kubernetes.ts';
import { openHealth } from './daemon/open-health.ts';
import { openKernel } from './daemon/open-kernel.ts';
import { openKvstore } from './daemon/open-kvstore.ts';
import { awaitPodCidrs } from './daemon/pod-cidrs.ts';
import { silentSource } from './daemon/silent-source.ts';
import { openProcessProxy, openWorkerProxy } from '../dns-proxy/agent-link.ts';
import type { DnsProxy, ProxyListener } from '../dns-proxy/contract.ts';
import { uninstall } from './datapath/kernel-node.ts';
import { addressesOf, Ipam } from './ipam/ipam.ts';
import { formatIssue } from './k8s/manifest-issue.ts';
import { ManifestSource } from './k8s/manifest-source.ts';
import { systemClock } from './model/clock.ts';
import { errorText, WeirError } from './model/errors.ts';
import type { ResourceSource } from './model/resource.ts';
import { VERSION } from './model/version.ts';

/** Exit codes: a wrong command line or configuration is the user's to correct. */
const EXIT = { ok: 0, failed: 1, usage: 2 } as const;

async function main(): Promise<number> {
  let invocation: Invocation;
  try {
    invocation = readInvocation(process.argv.slice(2), process.env);
  } catch (error) {
    process.stderr.write(`weir-agent: ${errorText(error)}\n`);
    return EXIT.usage;
  }
  switch (invocation.kind) {
    case 'help':
      process.stdout.write(helpText());
      return EXIT.ok;
    case 'version':
      process.stdout.write(`weir-agent ${VERSION}\n`);
      return EXIT.ok;
    case 'uninstall':
      return await removeEverything(invocation.config);
    case 'run':
      return await run(invocation.config);
  }
}

async function run(flags: Config): Promise<number> {
  const logger = pino({ level: flags.logLevel, base: { node: flags.nodeName } });
  let signal: NodeJS.Signals | undefined;
  const stopping = new AbortController();
  const stopped = signalled().then((name) => {
    signal = name;
    stopping.abort();
    return name;
  });
  try {
    using kubernetes =
      flags.kubernetes &&
      (await openKubernetes(flags.kubernetes, flags.nodeName, systemClock, logger, {
        withoutEndpoints: flags.kvstore !== undefined,
      }));
    const config = await withPodCidrs(flags, kubernetes, stopping.signal, logger);
    const ipam = new Ipam(config.podCidrs);
    await using kernel = await openKernel(
      {
        bpfRoot: config.bpfRoot,
        bpfObjects: config.bpfObjects ?? programsBeside(),
        devices: config.devices,
        mtu: config.mtu,
        warmPrograms: config.warmPrograms,
        collectionMs: config.collectionMs,
        policyMapMax: config.policyMapMax,
        loadBalancing: config.loadBalancing,
        masquerade: config.masquerade,
        socketLb: { mode: config.socketLb, cgroupRoot: config.cgroupRoot },
        routers: addressesOf(ipam.routers),
        podCidrs: Object.values(config.podCidrs),
        routing: config.routing,
        hostFirewall: config.hostFirewall,
        events: config.events,
        denyResponse: config.policyDenyResponse === 'icmp',
      },
      systemClock,
      (message, error) => logger.error({ err: error }, message),
    );
    using healthParts = config.health && openHealth(config.health);
    const source = kubernetes?.source ?? openSource(config, logger);
    const kvstore = await openKvstore(config, systemClock, logger);
    await using _store = kvstore?.store;
    // An API server or a store may be away for long: the agent can be stopped while it waits.
    void stopped.then(() => source.stop());
    void stopped.then(() => kvstore?.store.stop());
    await using _agent = await startAgent({
      ...{ config, version: VERSION, clock: systemClock, logger, kernel, ipam, source },
      startDnsProxy: (listener, lastPort) => startDnsProxy(config, logger, listener, lastPort),
      ...(kubernetes !== undefined && { kubernetes }),
      ...(kvstore !== undefined && { kvstore }),
      ...(healthParts !== undefined && { healthParts }),
      ...(config.cloudGroups !== undefined && { cloudGroups: openCloudGroups(config.cloudGroups, logger) }),
    });
    // What the start read and let go is much more than what it keeps: given back now, not when as much has come again.
    void globalThis.gc?.({ type: 'major', execution: 'async' });
    logger.info({ signal: await stopped }, 'stopping; what is in force stays in force');
    return EXIT.ok;
  } catch (error) {
    if (signal !== undefined && hasStopped(error)) {
      logger.info({ signal }, 'stopped before everything was known; what is in force stays in force');
      return EXIT.ok;
    }
    logger.fatal({ err: error, ...(error instanceof WeirError && { code: error.code }) }, errorText(error));
    return EXIT.failed;
  }
}

/** The configuration, with the addresses that the cluster gives to the pods of this node. */
async function withPodCidrs(
  config: Config,
  kubernetes: Kubernetes | undefined,
  signal: AbortSignal,
  logger: pino.Logger,
): Promise<Config> {
  if (kubernetes === undefined || config.ipam === 'flags') return config;
  const { server } = kubernetes;
  const podCidrs = await awaitPodCidrs(config, { server, clock: systemClock, logger, signal });
  return Object.freeze({ ...config, podCidrs });
}

/** Whether this is what a source answers that was stopped before it had told all. */
const hasStopped = (error: unknown): boolean => error instanceof WeirError && error.code === 'SOURCE_STOPPED';

/** Resolves with the signal that asks the agent to end. */
function signalled(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve(signal));
    // Timers of the agent let the process end; only a signal may.
    setInterval(() => undefined, 2 ** 30);
  });
}

function openSource({ manifests }: Config, logger: pino.Logger): ResourceSource {
  if (manifests === undefined) return silentSource;
  return new ManifestSource({
    directory: manifests,
    onIssues: (_present, added) => {
      for (const issue of added)
        logger[issue.severity === 'warning' ? 'warn' : 'error']({ file: issue.file }, formatIssue(issue));
    },
  });
}

/** The DNS proxy: a worker of the agent, or the process that listens where the configuration says. */
function startDnsProxy(
  { bpfRoot, dnsProxy }: Config,
  logger: pino.Logger,
  listener: ProxyListener,
  lastPort: number,
): Promise<DnsProxy> {
  const { socket, port, ...settings } = dnsProxy;
  const link = { settings, onError: (message: string, error: unknown) => logger.error({ err: error }, message) };
  if (socket !== undefined) return openProcessProxy({ ...link, path: socket }, listener);
  const worker = { bpfRoot, port: port === 0 ? lastPort : port };
  return openWorkerProxy({ ...link, entry: dnsWorker(), worker }, listener);
}

/** The worker's bundle in `dist/lib`, or its source when this is the agent's. */
function dnsWorker(): URL {
  const bundle = path.join(import.meta.dirname, 'weir-dns-worker.mjs');
  return pathToFileURL(existsSync(bundle) ? bundle : path.join(import.meta.dirname, '../dns-proxy/worker.ts'));
}

function openCloudGroups(file: string, logger: pino.Logger): CloudGroupFile {
  return new CloudGroupFile(file, {
    onError: (error) => logger.error({ file }, `cloud groups stay as they were: ${errorText(error)}`),
  });
}

/** Where the programs of the kernel lie: `dist/bpf`, seen from the bundle in `dist/lib` or from the source in `agent`. */
function programsBeside(): string {
  const candidates = ['../bpf', '../dist/bpf'].map((relative) => path.join(import.meta.dirname, relative));
  return candidates.find((folder) => existsSync(path.join(folder, 'bpf_lxc.o'))) ?? candidates[0]!;
}

async function removeEverything(config: Config): Promise<number> {
  try {
    await uninstall(config.bpfRoot);
    rmSync(config.stateDir, { recursive: true, force: true });
    rmSync(config.deleteQueue, { recursive: true, force: true });
    rmSync(config.socket, { force: true });
    return EXIT.ok;
  } catch (error) {
    process.stderr.write(`weir-agent: ${errorText(error)}\n`);
    return EXIT.failed;
  }
}

process.exitCode = await main();
// Whatever still holds the event loop has no say any more.
process.exit();
