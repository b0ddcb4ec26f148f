import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import type { Routing } from '../model/datapath.ts';
import { WeirError } from '../model/errors.ts';
import { readDnsProxy, readNames, type DnsProxyConfig, type NameConfig } from './dns.ts';
import { readEvents, type EventConfig } from './events.ts';
import { readHealth, type HealthConfig } from './health.ts';
import { readKubernetes, type KubernetesConfig } from './kubernetes.ts';
import { readIdentityAllocation, readKvstore, type IdentityAllocation, type KvstoreConfig } from './kvstore.ts';
import { readLoadBalancing, type LoadBalancingConfig } from './load-balancing.ts';
import { readMasquerade, type MasqueradeConfig } from './masquerade.ts';
import { readIpam, readPodCidrs, type IpamMode, type PodCidrs } from './pod-cidrs.ts';
import { Reader } from './reader.ts';
import { readSettings } from './settings.ts';

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const;

/** Long enough to cost nothing, short enough that no table fills. */
const COLLECTION_MS = 30_000;

/** The agent's configuration: parsed once, never changed. */
export interface Config {
  readonly socket: string;
  readonly socketGroup: string | undefined;
  readonly deleteQueue: string;
  readonly stateDir: string;
  readonly bpfRoot: string;
  /** Undefined: beside the program. */
  readonly bpfObjects: string | undefined;
  readonly manifests: string | undefined;
  /** Undefined: there is no API server to follow. */
  readonly kubernetes: KubernetesConfig | undefined;
  readonly identityAllocation: IdentityAllocation;
  /** Undefined: there is no key-value store. */
  readonly kvstore: KvstoreConfig | undefined;
  /** Milliseconds. */
  readonly identityChangeGrace: number;
  /** Milliseconds. */
  readonly podMetadataTimeout: number;
  /** Undefined: groups of a cloud are empty. */
  readonly cloudGroups: string | undefined;
  readonly nodeName: string;
  readonly clusterName: string;
  readonly ipam: IpamMode;
  /** Empty until the cluster has said them, where it does. */
  readonly podCidrs: PodCidrs;
  /** Empty: to be found. */
  readonly devices: readonly string[];
  /** Bytes; undefined: to be found. */
  readonly mtu: number | undefined;
  readonly routing: Routing;
  /** Sets of programs to keep loaded ahead of the pods that will need them. */
  readonly warmPrograms: number;
  /** Entries of each endpoint's policy map. */
  readonly policyMapMax: number;
  /** Where services are translated; see `socketCgroup`. */
  readonly socketLb: 'auto' | 'true' | 'false';
  /** Undefined: to be found. */
  readonly cgroupRoot: string | undefined;
  readonly loadBalancing: LoadBalancingConfig;
  readonly masquerade: MasqueradeConfig;
  readonly labelRules: readonly string[];
  readonly policyEnforcement: 'default' | 'always' | 'never';
  readonly allowLocalhost: 'auto' | 'always' | 'policy';
  /** The node itself is an endpoint. */
  readonly hostFirewall: boolean;
  readonly policyAuditMode: boolean;
  /** Annotations of pods limit their bandwidth. */
  readonly bandwidthManager: boolean;
  readonly policyDenyResponse: 'none' | 'icmp';
  readonly events: EventConfig;
  /** Between collections of connections that have ended, in milliseconds. */
  readonly collectionMs: number;
  /** Undefined: nobody probes. */
  readonly health: HealthConfig | undefined;
  readonly names: NameConfig;
  readonly dnsProxy: DnsProxyConfig;
  /** Undefined: no metrics. */
  readonly metricsListen: { readonly host: string; readonly port: number } | undefined;
  readonly logLevel: (typeof LOG_LEVELS)[number];
}

/** What the command line asks for. */
export type Invocation =
  { readonly kind: 'help' | 'version' } | { readonly kind: 'run' | 'uninstall'; readonly config: Config };

/**
 * Reads command line, environment and file.
 *
 * @throws WeirError CONFIG_INVALID naming the flag, variable or entry.
 */
export function readInvocation(argv: readonly string[], environment: NodeJS.ProcessEnv): Invocation {
  const settings = readSettings(argv, environment);
  if (settings.help !== undefined) return { kind: 'help' };
  if (settings.version !== undefined) return { kind: 'version' };
  const uninstall = settings.uninstall !== undefined;
  return { kind: uninstall ? 'uninstall' : 'run', config: toConfig(new Reader(settings), environment, uninstall) };
}

function toConfig(reader: Reader, environment: NodeJS.ProcessEnv, uninstall: boolean): Config {
  const kubernetes = readKubernetes(reader, environment);
  const kvstore = readKvstore(reader);
  const socket = reader.text('socket');
  const podCidrs = readPodCidrs(reader);
  const ipam = readIpam(reader, podCidrs, kubernetes);
  if (!uninstall && ipam === 'flags' && podCidrs.ipv4 === undefined && podCidrs.ipv6 === undefined) {
    throw new WeirError('CONFIG_INVALID', 'pods have no addresses', {
      field: '--pod-cidr',
      remedy: 'name the addresses of pods, such as --pod-cidr 10.0.0.0/24 --pod-cidr fd00::/64',
    });
  }
  return Object.freeze({
    socket,
    socketGroup: reader.optional('socket-group'),
    deleteQueue: reader.optional('delete-queue') ?? join(dirname(socket), 'deleteQueue'),
    stateDir: reader.text('state-dir'),
    bpfRoot: reader.text('bpf-root'),
    bpfObjects: reader.optional('bpf-objects'),
    manifests: reader.optional('manifests'),
    kubernetes,
    identityAllocation: readIdentityAllocation(reader, kubernetes),
    kvstore,
    identityChangeGrace: reader.duration('identity-change-grace-period'),
    podMetadataTimeout: reader.duration('pod-metadata-timeout'),
    cloudGroups: reader.optional('cloud-groups'),
    // What Kubernetes' downward API is asked for under this name is how its agents learn it.
    nodeName: reader.optional('node-name') ?? environment['K8S_NODE_NAME'] ?? hostname(),
    clusterName: reader.text('cluster-name'),
    ipam,
    podCidrs,
    devices: reader.list('devices'),
    mtu: reader.optionalNumber('mtu', 1280, 65535),
    routing: Object.freeze({
      mode: reader.oneOf('routing-mode', ['tunnel', 'native']),
      tunnelPort: readTunnel(reader),
      underlay: reader.oneOf('underlay-protocol', ['ipv4', 'ipv6']) === 'ipv4' ? 4 : 6,
      autoDirectNodeRoutes: reader.flag('auto-direct-node-routes'),
      throughHost: reader.flag('enable-host-legacy-routing'),
    }),
    warmPrograms: reader.number('warm-programs', 0, 1000),
    policyMapMax: reader.number('bpf-policy-map-max', 256, 65536),
    socketLb: reader.oneOf('bpf-lb-sock', ['auto', 'true', 'false']),
    cgroupRoot: reader.optional('cgroup-root'),
    loadBalancing: readLoadBalancing(reader),
    masquerade: readMasquerade(reader),
    labelRules: reader.list('labels'),
    policyEnforcement: reader.oneOf('policy-enforcement', ['default', 'always', 'never']),
    allowLocalhost: reader.oneOf('allow-localhost', ['auto', 'always', 'policy']),
    hostFirewall: reader.flag('enable-host-firewall'),
    policyAuditMode: reader.flag('policy-audit-mode'),
    bandwidthManager: reader.flag('enable-bandwidth-manager'),
    policyDenyResponse: reader.oneOf('policy-deny-response', ['none', 'icmp']),
    events: readEvents(reader),
    collectionMs: reader.duration('conntrack-gc-interval') || COLLECTION_MS,
    health: readHealth(reader, kubernetes, kvstore),
    names: readNames(reader),
    dnsProxy: readDnsProxy(reader),
    metricsListen: readListen(reader),
    logLevel: reader.oneOf('log-level', LOG_LEVELS),
  });
}

/** VXLAN is the one protocol there is; whoever asks for another must learn that. */
function readTunnel(reader: Reader): number {
  reader.oneOf('tunnel-protocol', ['vxlan']);
  return reader.number('tunnel-port', 1, 65535);
}

function readListen(reader: Reader): Config['metricsListen'] {
  const text = reader.text('metrics-listen');
  if (text === '') return undefined;
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:]*)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65535) return reader.fail('metrics-listen', `${JSON.stringify(text)} is not HOST:PORT`);
  const host = match[1] ?? match[2] ?? '';
  return { host: host === '' ? '::' : host, port };
}
