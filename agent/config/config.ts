import { Resolver } from 'node:dns';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { parseDocument } from 'yaml';
import { parseCidr, type Cidr } from '../model/address.ts';
import type { Routing } from '../model/datapath.ts';
import { errorText, WeirError } from '../model/errors.ts';
import { parseEtcdOptions, type EtcdOptions } from '../model/kvstore.ts';
import { MAGLEV_SIZES } from '../model/service.ts';
import { environmentName, OPTIONS, type Option, type OptionName } from './options.ts';

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
  readonly identityAllocation: 'crd' | 'kvstore' | 'file';
  /** Undefined: there is no key-value store. */
  readonly kvstore: (EtcdOptions & { readonly leaseTtlSeconds: number }) | undefined;
  /** Milliseconds. */
  readonly identityChangeGrace: number;
  /** Milliseconds. */
  readonly podMetadataTimeout: number;
  /** Undefined: groups of a cloud are empty. */
  readonly cloudGroups: string | undefined;
  readonly nodeName: string;
  readonly clusterName: string;
  /** Who says which addresses pods have. */
  readonly ipam: 'flags' | 'kubernetes' | 'cluster-pool';
  /** Empty until the cluster has said them, where it does. */
  readonly podCidrs: { readonly ipv4?: Cidr; readonly ipv6?: Cidr };
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
  readonly loadBalancing: {
    /** Places of Maglev's tables; undefined: clients from outside are spread at random. */
    readonly maglevTableSize: number | undefined;
    readonly externalClusterIp: boolean;
    readonly rejectWithoutBackend: boolean;
  };
  /** Pods' packets to the world leave under the node's address. */
  readonly masquerade: {
    readonly ipv4: boolean;
    readonly ipv6: boolean;
    /** Prefixes to which they go under the pods' own. */
    readonly except: readonly Cidr[];
    /** Entries of the map of translations. */
    readonly mapMax: number;
  };
  readonly labelRules: readonly string[];
  readonly policyEnforcement: 'default' | 'always' | 'never';
  readonly allowLocalhost: 'auto' | 'always' | 'policy';
  /** The node itself is an endpoint. */
  readonly hostFirewall: boolean;
  readonly policyAuditMode: boolean;
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

/** What is reported of packets. */
export interface EventConfig {
  readonly drops: boolean;
  readonly verdicts: boolean;
  readonly traces: boolean;
  readonly aggregation: 'none' | 'low' | 'medium' | 'maximum';
  /** Milliseconds. */
  readonly intervalMs: number;
  /** As in a TCP header's byte of flags. */
  readonly flags: number;
  /** Of each type, a second and CPU; 0: no limit. */
  readonly rate: number;
  readonly burst: number;
}

/** How the agent speaks to an API server. */
export interface KubernetesConfig {
  /** Undefined: the service account of the pod. */
  readonly kubeconfig: string | undefined;
  /** Empty: the one that the credentials name. */
  readonly servers: readonly string[];
  /** Writes a second, and how many may go at once. */
  readonly qps: number;
  readonly burst: number;
  /** Milliseconds. */
  readonly heartbeatTimeout: number;
  readonly endpointSlices: boolean;
}

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

/** What is kept of the answers of DNS (S30, S31). */
export interface NameConfig {
  /** Seconds. */
  readonly minTtl: number;
  readonly addressesPerName: number;
  /** Addresses past their TTL, for each endpoint. */
  readonly zombiesPerEndpoint: number;
  /** Milliseconds. */
  readonly idleGraceMs: number;
  /** DNS servers for names that the node itself asks for; empty: those of the node. */
  readonly resolvers: readonly string[];
}

/** How pods' DNS is taken care of; durations in milliseconds. */
export interface DnsProxyConfig {
  /** Of a proxy in a process of its own; undefined: the agent has one inside. */
  readonly socket: string | undefined;
  /** 0: that of the last run, or any. */
  readonly port: number;
  readonly reject: 'refused' | 'nameError';
  readonly maxDelayMs: number;
  readonly concurrencyPerEndpoint: number;
  readonly connectionsPerEndpoint: number;
  readonly idleTimeoutMs: number;
  readonly upstreamTimeoutMs: number;
}

/** What the command line asks for. */
export type Invocation =
  { readonly kind: 'help' | 'version' } | { readonly kind: 'run' | 'uninstall'; readonly config: Config };

/** Where a setting was found, for errors. */
interface Setting {
  readonly values: readonly string[];
  readonly from: string;
}

type Settings = Partial<Record<OptionName, Setting>>;

/**
 * Reads command line, environment and file.
 *
 * @throws WeirError CONFIG_INVALID naming the flag, variable or entry.
 */
export function readInvocation(argv: readonly string[], environment: NodeJS.ProcessEnv): Invocation {
  const line = fromCommandLine(argv);
  if (line.help !== undefined) return { kind: 'help' };
  if (line.version !== undefined) return { kind: 'version' };
  const variables = fromEnvironment(environment);
  const file = line.config ?? variables.config;
  const settings: Settings = { ...(file && fromFile(file.values[0]!)), ...variables, ...line };
  const uninstall = line.uninstall !== undefined;
  return { kind: uninstall ? 'uninstall' : 'run', config: toConfig(new Reader(settings), environment, uninstall) };
}

function fromCommandLine(argv: readonly string[]): Settings {
  const options = Object.fromEntries(
    OPTIONS.map(({ name, kind }: Option) => [
      name,
      { type: kind === 'flag' ? ('boolean' as const) : ('string' as const), multiple: kind === 'list' },
    ]),
  );
  try {
    const { values } = parseArgs({ args: [...argv], options, allowPositionals: false, strict: true });
    return Object.fromEntries(
      Object.entries(values).map(([name, value]) => {
        const texts = (Array.isArray(value) ? value : [value]).map(String);
        return [name, { values: isList(name) ? texts.flatMap(splitList) : texts, from: `--${name}` }];
      }),
    );
  } catch (cause) {
    throw new WeirError('CONFIG_INVALID', errorText(cause), { field: 'command line', cause });
  }
}

function fromEnvironment(environment: NodeJS.ProcessEnv): Settings {
  const settings: Record<string, Setting> = {};
  for (const option of OPTIONS) {
    const variable = environmentName(option.name);
    const value = environment[variable];
    if (value === undefined || ('commandLineOnly' in option && option.name !== 'config')) continue;
    settings[option.name] = { values: isList(option.name) ? splitList(value) : [value], from: variable };
  }
  return settings;
}

function fromFile(path: string): Settings {
  const fail = (message: string): never => {
    throw new WeirError('CONFIG_INVALID', message, { object: path });
  };
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    return fail(`cannot be read: ${errorText(cause)}`);
  }
  const document = parseDocument(text);
  const syntax = document.errors[0];
  if (syntax !== undefined) return fail(syntax.message);
  const content: unknown = document.toJS();
  if (content === null || content === undefined) return {};
  if (typeof content !== 'object' || Array.isArray(content)) return fail('must be a mapping of flag names to values');
  const settings: Record<string, Setting> = {};
  for (const [name, value] of Object.entries(content as Record<string, unknown>)) {
    const option = OPTIONS.find((candidate) => candidate.name === name);
    if (option === undefined || 'commandLineOnly' in option)
      return fail(`${name}: there is no such setting; see --help`);
    const items: readonly unknown[] = Array.isArray(value) ? value : [value];
    if (items.length !== 1 && option.kind !== 'list') return fail(`${name}: must be one value`);
    const values = items.map((item) =>
      typeof item === 'string' || typeof item === 'number' || typeof item === 'boolean'
        ? String(item)
        : fail(`${name}: must be a text, a number, or a list of them`),
    );
    settings[name] = { values: option.kind === 'list' ? values.flatMap(splitList) : values, from: `${path}: ${name}` };
  }
  return settings;
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

function readLoadBalancing(reader: Reader): Config['loadBalancing'] {
  const size = reader.number('bpf-lb-maglev-table-size', 1, 1_000_000);
  if (!MAGLEV_SIZES.some((known) => known === size)) {
    reader.fail('bpf-lb-maglev-table-size', `${size} is not one of ${MAGLEV_SIZES.join(', ')}`);
  }
  const maglev = reader.oneOf('bpf-lb-algorithm', ['random', 'maglev']) === 'maglev';
  return Object.freeze({
    maglevTableSize: maglev ? size : undefined,
    externalClusterIp: reader.flag('bpf-lb-external-clusterip'),
    rejectWithoutBackend: reader.oneOf('service-no-backend-response', ['reject', 'drop']) === 'reject',
  });
}

/** In the order of their bits. */
const TCP_FLAGS = ['fin', 'syn', 'rst', 'psh', 'ack', 'urg', 'ece', 'cwr'];

function readEvents(reader: Reader): EventConfig {
  const flags = reader.text('monitor-aggregation-flags').toLowerCase().split(',').filter(Boolean);
  const unknown = flags.find((flag) => !TCP_FLAGS.includes(flag));
  if (unknown !== undefined) {
    reader.fail('monitor-aggregation-flags', `${JSON.stringify(unknown)} is not one of ${TCP_FLAGS.join(', ')}`);
  }
  const rate = reader.number('bpf-events-default-rate-limit', 0, 10_000_000);
  const burst = reader.number('bpf-events-default-burst-limit', 0, 10_000_000);
  if (burst > 0 && rate === 0) {
    reader.fail('bpf-events-default-burst-limit', 'means nothing without --bpf-events-default-rate-limit');
  }
  const isOn = (name: OptionName): boolean => reader.oneOf(name, ['true', 'false']) === 'true';
  return Object.freeze({
    drops: isOn('bpf-events-drop-enabled'),
    verdicts: isOn('bpf-events-policy-verdict-enabled'),
    traces: isOn('bpf-events-trace-enabled'),
    aggregation: reader.oneOf('monitor-aggregation', ['none', 'low', 'medium', 'maximum']),
    intervalMs: reader.duration('monitor-aggregation-interval'),
    flags: flags.reduce((bits, flag) => bits | (1 << TCP_FLAGS.indexOf(flag)), 0),
    rate,
    burst: burst === 0 ? rate : burst,
  });
}

function readMasquerade(reader: Reader): Config['masquerade'] {
  const native = reader.oneOf('routing-mode', ['tunnel', 'native']) === 'native';
  const family = (version: 4 | 6): { readonly on: boolean; readonly routed: readonly Cidr[] } => {
    const [flag, name] = [`enable-ipv${version}-masquerade`, `ipv${version}-native-routing-cidr`] as const;
    const on = reader.flag(flag);
    const text = reader.optional(name);
    // Pods of nodes that nobody has announced yet would be taken for the world.
    if (on && native && text === undefined)
      reader.fail(flag, `with --routing-mode native, --${name} has to say where pods are routed`);
    const cidr = text === undefined ? undefined : reader.check(name, () => parseCidr(text));
    if (cidr !== undefined && cidr.address.family !== version) reader.fail(name, `${text} is not of IPv${version}`);
    return { on, routed: cidr === undefined ? [] : [cidr] };
  };
  const [ipv4, ipv6] = [family(4), family(6)];
  const named = reader
    .list('non-masquerade-cidrs')
    .map((text) => reader.check('non-masquerade-cidrs', () => parseCidr(text)));
  return Object.freeze({
    ...{ ipv4: ipv4.on, ipv6: ipv6.on, except: [...ipv4.routed, ...ipv6.routed, ...named] },
    mapMax: reader.number('bpf-nat-global-max', 1024, 16_777_216),
  });
}

function readIpam(
  reader: Reader,
  { ipv4, ipv6 }: Config['podCidrs'],
  kubernetes: KubernetesConfig | undefined,
): Config['ipam'] {
  const named = ipv4 !== undefined || ipv6 !== undefined;
  if (reader.optional('ipam') === undefined) return named || kubernetes === undefined ? 'flags' : 'cluster-pool';
  const mode = reader.oneOf('ipam', ['flags', 'kubernetes', 'cluster-pool']);
  if (mode !== 'flags' && kubernetes === undefined)
    return reader.fail('ipam', `${mode} needs an API server: see --k8s-kubeconfig-path`);
  if (mode !== 'flags' && named)
    return reader.fail('ipam', `with ${mode} the cluster says the addresses, not --pod-cidr`);
  return mode;
}

function readPodCidrs(reader: Reader): Config['podCidrs'] {
  const cidrs: { ipv4?: Cidr; ipv6?: Cidr } = {};
  for (const text of reader.list('pod-cidr')) {
    const cidr = reader.check('pod-cidr', () => parseCidr(text));
    const family = cidr.address.family === 4 ? 'ipv4' : 'ipv6';
    if (cidrs[family] !== undefined) reader.fail('pod-cidr', 'names two prefixes of one family');
    cidrs[family] = cidr;
  }
  return Object.freeze(cidrs);
}

/** VXLAN is the one protocol there is; whoever asks for another must learn that. */
function readTunnel(reader: Reader): number {
  reader.oneOf('tunnel-protocol', ['vxlan']);
  return reader.number('tunnel-port', 1, 65535);
}

function readKubernetes(reader: Reader, environment: NodeJS.ProcessEnv): KubernetesConfig | undefined {
  const mode = reader.oneOf('enable-k8s', ['auto', 'true', 'false']);
  const kubeconfig = reader.optional('k8s-kubeconfig-path');
  const servers = reader.list('k8s-api-server-urls');
  const manifests = reader.optional('manifests');
  const named = kubeconfig !== undefined || servers.length > 0;
  const inPod = manifests === undefined && (environment['KUBERNETES_SERVICE_HOST'] ?? '') !== '';
  if (mode === 'false' || (mode === 'auto' && !named && !inPod)) return undefined;
  if (manifests !== undefined)
    reader.fail('manifests', 'objects come from an API server or from a directory of manifests, not from both');
  return Object.freeze({
    ...{ kubeconfig, servers },
    qps: reader.number('k8s-client-qps', 1, 10_000),
    burst: reader.number('k8s-client-burst', 1, 10_000),
    heartbeatTimeout: reader.duration('k8s-heartbeat-timeout'),
    endpointSlices: reader.flag('enable-cilium-endpoint-slice'),
  });
}

function readIdentityAllocation(
  reader: Reader,
  kubernetes: KubernetesConfig | undefined,
): Config['identityAllocation'] {
  const kvstore = reader.optional('kvstore') !== undefined;
  const field =
    reader.optional('identity-allocation-mode') === undefined ? 'identity-allocation' : 'identity-allocation-mode';
  if (reader.optional(field) === undefined) return kvstore ? 'kvstore' : kubernetes === undefined ? 'file' : 'crd';
  const mode = reader.oneOf(field, ['crd', 'kvstore', 'file']);
  if (mode === 'crd' && kubernetes === undefined)
    reader.fail(field, 'crd needs an API server: see --k8s-kubeconfig-path');
  if (mode === 'kvstore' && !kvstore) reader.fail(field, 'kvstore needs a store: --kvstore etcd --kvstore-opt …');
  if (mode !== 'kvstore' && kvstore)
    reader.fail('kvstore', `with ${mode} there is nothing to keep in a store: say --identity-allocation-mode kvstore`);
  return mode;
}

function readKvstore(reader: Reader): Config['kvstore'] {
  if (reader.optional('kvstore') === undefined) return undefined;
  reader.oneOf('kvstore', ['etcd']);
  const leaseTtlSeconds = Math.round(reader.duration('kvstore-lease-ttl') / 1000);
  if (leaseTtlSeconds < 5) reader.fail('kvstore-lease-ttl', 'must be 5s at least');
  const options = reader.check('kvstore-opt', () => parseEtcdOptions(reader.list('kvstore-opt')));
  return Object.freeze({ ...options, leaseTtlSeconds });
}

function readHealth(
  reader: Reader,
  kubernetes: KubernetesConfig | undefined,
  kvstore: Config['kvstore'],
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

function readNames(reader: Reader): NameConfig {
  return Object.freeze({
    minTtl: reader.number('tofqdns-min-ttl', 0, 604_800),
    addressesPerName: reader.number('tofqdns-endpoint-max-ip-per-hostname', 1, 50_000),
    zombiesPerEndpoint: reader.number('tofqdns-max-deferred-connection-deletes', 1, 1_000_000),
    idleGraceMs: reader.duration('tofqdns-idle-connection-grace-period'),
    resolvers: readResolvers(reader),
  });
}

/** Servers as `dns.setServers` takes them. */
function readResolvers(reader: Reader): readonly string[] {
  const servers = reader.list('fromfqdns-resolvers');
  reader.check('fromfqdns-resolvers', () => new Resolver().setServers(servers));
  return servers;
}

function readDnsProxy(reader: Reader): DnsProxyConfig {
  return Object.freeze({
    socket: reader.optional('dns-proxy-socket'),
    port: reader.number('tofqdns-proxy-port', 0, 65_535),
    reject: reader.oneOf('tofqdns-dns-reject-response-code', ['refused', 'nameError']),
    maxDelayMs: reader.duration('tofqdns-proxy-response-max-delay'),
    concurrencyPerEndpoint: reader.number('dnsproxy-concurrency-limit', 1, 1_000_000),
    connectionsPerEndpoint: reader.number('dnsproxy-connection-limit', 1, 100_000),
    idleTimeoutMs: reader.duration('dnsproxy-idle-timeout'),
    upstreamTimeoutMs: reader.duration('dnsproxy-upstream-timeout'),
  });
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

/** Typed access to settings; what does not fit is an error that says where it came from. */
class Reader {
  readonly #settings: Settings;

  constructor(settings: Settings) {
    this.#settings = settings;
  }

  optional(name: OptionName): string | undefined {
    const value = this.#settings[name]?.values[0];
    return value === '' ? undefined : value;
  }

  text(name: OptionName): string {
    const option: Option | undefined = OPTIONS.find((candidate) => candidate.name === name);
    return this.#settings[name]?.values[0] ?? option?.default ?? '';
  }

  list(name: OptionName): readonly string[] {
    return this.#settings[name]?.values ?? [];
  }

  flag(name: OptionName): boolean {
    const text = this.#settings[name]?.values[0] ?? 'false';
    return (
      text === 'true' || text === '1' || (text !== 'false' && text !== '0' && this.fail(name, 'must be true or false'))
    );
  }

  optionalNumber(name: OptionName, first: number, last: number): number | undefined {
    return this.optional(name) === undefined ? undefined : this.number(name, first, last);
  }

  number(name: OptionName, first: number, last: number): number {
    const text = this.text(name);
    const value = Number(text);
    if (text !== '' && Number.isInteger(value) && value >= first && value <= last) return value;
    return this.fail(name, `${JSON.stringify(text)} is not a whole number from ${first} to ${last}`);
  }

  /** Milliseconds of a text such as `400ms`, `30s`, `5m` or `1h30m`. */
  duration(name: OptionName): number {
    const text = this.text(name);
    const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)];
    const units = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const;
    if (text === '0') return 0;
    if (parts.length === 0 || parts.map(([part]) => part).join('') !== text)
      return this.fail(name, `${JSON.stringify(text)} is not a duration such as 400ms or 30s`);
    return parts.reduce((sum, [, number, unit]) => sum + Number(number) * units[unit as keyof typeof units], 0);
  }

  oneOf<T extends string>(name: OptionName, values: readonly T[]): T {
    const text = this.text(name);
    const found = values.find((value) => value === text);
    return found ?? this.fail(name, `${JSON.stringify(text)} is not one of ${values.join(', ')}`);
  }

  check<T>(name: OptionName, parse: () => T): T {
    try {
      return parse();
    } catch (error) {
      return this.fail(name, error instanceof Error ? error.message : String(error));
    }
  }

  fail(name: OptionName, message: string): never {
    throw new WeirError('CONFIG_INVALID', message, { field: this.#settings[name]?.from ?? `--${name}` });
  }
}

const splitList = (text: string): string[] =>
  text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');

const isList = (name: string): boolean => OPTIONS.find((option) => option.name === name)?.kind === 'list';
