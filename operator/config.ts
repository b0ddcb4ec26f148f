/** The operator's configuration: parsed once, never changed. */
import { parseArgs } from 'node:util';
import { parseCidr, type Cidr } from '../agent/model/address.ts';
import { errorText, WeirError } from '../agent/model/errors.ts';
import { parseEtcdOptions, type EtcdOptions } from '../agent/model/kvstore.ts';
import { environmentName, OPTIONS, type Option, type OptionName } from './options.ts';

/** One family of the cluster pool. */
export interface PoolConfig {
  readonly cidrs: readonly Cidr[];
  /** Prefix length of what a node gets. */
  readonly nodeLength: number;
}

export interface OperatorConfig {
  readonly kubeconfig: string | undefined;
  readonly servers: readonly string[];
  readonly namespace: string;
  readonly clusterName: string;
  readonly registerDefinitions: boolean;
  /** Milliseconds. */
  readonly leaderElection: { readonly leaseMs: number; readonly renewMs: number; readonly retryMs: number };
  readonly identityGc: {
    readonly intervalMs: number;
    readonly heartbeatTimeoutMs: number;
    readonly mostPerRound: number;
  };
  /** Where identities are; undefined: at the API server. */
  readonly kvstore: EtcdOptions | undefined;
  /** 0: never. */
  readonly endpointGcMs: number;
  readonly nodeGcMs: number;
  /** Undefined unless this operator gives nodes their pod CIDRs. */
  readonly clusterPool: readonly PoolConfig[] | undefined;
  readonly slices: { readonly size: number; readonly perSecond: number; readonly burst: number } | undefined;
  readonly decode: { readonly nodeSelectorLabels: boolean; readonly extendedIPProtocols: boolean };
  readonly listen: { readonly host: string; readonly port: number };
  readonly logLevel: string;
}

export type Invocation =
  { readonly kind: 'help' | 'version' } | { readonly kind: 'run'; readonly config: OperatorConfig };

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'];

/** @throws WeirError CONFIG_INVALID naming the flag or variable. */
export function readInvocation(argv: readonly string[], environment: NodeJS.ProcessEnv): Invocation {
  const values = readValues(argv, environment);
  if (values.flag('help')) return { kind: 'help' };
  if (values.flag('version')) return { kind: 'version' };
  return { kind: 'run', config: readConfig(values) };
}

function readConfig(values: Values): OperatorConfig {
  const leaderElection = {
    leaseMs: values.duration('leader-election-lease-duration'),
    renewMs: values.duration('leader-election-renew-deadline'),
    retryMs: values.duration('leader-election-retry-period'),
  };
  const { leaseMs, renewMs, retryMs } = leaderElection;
  if (!(retryMs < renewMs && renewMs < leaseMs))
    throw values.fault(
      'leader-election-renew-deadline',
      'must be longer than the retry period and shorter than the lease',
    );
  const kvstore = readKvstore(values);
  const heartbeatTimeoutMs = values.duration('identity-heartbeat-timeout');
  return Object.freeze({
    kubeconfig: values.text('k8s-kubeconfig-path'),
    servers: values.list('k8s-api-server-urls'),
    namespace: values.text('namespace')!,
    clusterName: values.text('cluster-name')!,
    registerDefinitions: !values.flag('skip-crd-creation'),
    leaderElection,
    identityGc: {
      intervalMs: values.duration('identity-gc-interval'),
      // A node that is cut off goes on for as long as its lease lasts.
      heartbeatTimeoutMs:
        kvstore === undefined ? heartbeatTimeoutMs : Math.max(heartbeatTimeoutMs, values.duration('kvstore-lease-ttl')),
      mostPerRound: values.number('identity-gc-rate-limit', 1, 1_000_000),
    },
    kvstore,
    endpointGcMs: values.duration('cilium-endpoint-gc-interval'),
    nodeGcMs: values.duration('nodes-gc-interval'),
    clusterPool: readPool(values),
    slices: readSlices(values),
    decode: {
      nodeSelectorLabels: values.flag('enable-node-selector-labels'),
      extendedIPProtocols: values.flag('enable-extended-ip-protocols'),
    },
    listen: values.listener('listen'),
    logLevel: values.choice('log-level', LOG_LEVELS),
  });
}

function readKvstore(values: Values): EtcdOptions | undefined {
  const field =
    values.text('identity-allocation-mode') === undefined ? 'identity-allocation' : 'identity-allocation-mode';
  const named = values.text('kvstore') !== undefined;
  if (named) values.choice('kvstore', ['etcd']);
  const mode =
    values.text(field) === undefined ? (named ? 'kvstore' : 'crd') : values.choice(field, ['crd', 'kvstore']);
  if (mode === 'kvstore' && !named) throw values.fault(field, 'kvstore needs a store: --kvstore etcd --kvstore-opt …');
  if (mode === 'crd') {
    if (named) throw values.fault('kvstore', 'with crd there is nothing to keep in a store');
    return undefined;
  }
  try {
    return parseEtcdOptions(values.list('kvstore-opt'));
  } catch (error) {
    throw values.fault('kvstore-opt', error instanceof Error ? error.message : String(error));
  }
}

function readSlices(values: Values): OperatorConfig['slices'] {
  const slices = {
    size: values.number('ces-max-ciliumendpoints-per-ces', 1, 10_000),
    perSecond: values.number('ces-rate-limit', 1, 1000),
    burst: values.number('ces-rate-burst', 1, 1000),
  };
  return values.flag('enable-cilium-endpoint-slice') ? slices : undefined;
}

function readPool(values: Values): readonly PoolConfig[] | undefined {
  if (values.choice('ipam', ['cluster-pool', 'kubernetes']) === 'kubernetes') return undefined;
  const pools = ([4, 6] as const).flatMap((family): PoolConfig[] => {
    const field = `cluster-pool-ipv${family}-cidr` as const;
    const cidrs = values.cidrs(field, family);
    if (cidrs.length === 0) return [];
    const shortest = Math.max(...cidrs.map(({ length }) => length));
    return [
      { cidrs, nodeLength: values.number(`cluster-pool-ipv${family}-mask-size`, shortest, family === 4 ? 32 : 128) },
    ];
  });
  if (pools.length === 0)
    throw values.fault('ipam', 'cluster-pool needs --cluster-pool-ipv4-cidr, --cluster-pool-ipv6-cidr, or both');
  return pools;
}

interface Given {
  readonly values: readonly string[];
  /** Flag or variable that it comes from. */
  readonly field: string;
}

function readValues(argv: readonly string[], environment: NodeJS.ProcessEnv): Values {
  const options = Object.fromEntries(
    OPTIONS.map(({ name, kind }) => [
      name,
      kind === 'flag' ? ({ type: 'boolean' } as const) : ({ type: 'string', multiple: true } as const),
    ]),
  );
  const given = new Map<string, Given>();
  for (const { name } of OPTIONS) {
    const value = environment[environmentName(name)];
    if (value !== undefined) given.set(name, { values: [value], field: environmentName(name) });
  }
  try {
    for (const [name, value] of Object.entries(parseArgs({ args: [...argv], options }).values))
      if (value !== undefined) given.set(name, { values: [value].flat().map(String), field: `--${name}` });
  } catch (cause) {
    throw new WeirError('CONFIG_INVALID', errorText(cause), { field: 'command line', cause });
  }
  return new Values(given);
}

/** Settings as they were given, each read as what it should be. */
class Values {
  readonly #given: ReadonlyMap<string, Given>;

  constructor(given: ReadonlyMap<string, Given>) {
    this.#given = given;
  }

  fault(name: OptionName, message: string): WeirError {
    return new WeirError('CONFIG_INVALID', message, { field: this.#given.get(name)?.field ?? `--${name}` });
  }

  text(name: OptionName): string | undefined {
    const option: Option | undefined = OPTIONS.find((known) => known.name === name);
    return this.#given.get(name)?.values.at(-1) ?? option?.default;
  }

  list(name: OptionName): readonly string[] {
    const values = this.#given.get(name)?.values ?? [];
    return values
      .flatMap((value) => value.split(','))
      .map((value) => value.trim())
      .filter((value) => value !== '');
  }

  flag(name: OptionName): boolean {
    const text = this.text(name) ?? 'false';
    if (text !== 'true' && text !== 'false')
      throw this.fault(name, `must be true or false, not ${JSON.stringify(text)}`);
    return text === 'true';
  }

  choice(name: OptionName, choices: readonly string[]): string {
    const text = this.text(name) ?? '';
    if (!choices.includes(text))
      throw this.fault(name, `must be one of ${choices.join(', ')}, not ${JSON.stringify(text)}`);
    return text;
  }

  number(name: OptionName, least: number, most: number): number {
    const text = this.text(name) ?? '';
    const number = Number(text);
    if (!/^\d+$/.test(text) || number < least || number > most)
      throw this.fault(name, `must be a whole number from ${least} to ${most}, not ${JSON.stringify(text)}`);
    return number;
  }

  /** Milliseconds. */
  duration(name: OptionName): number {
    const text = this.text(name) ?? '';
    const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)$|^0$/.exec(text);
    if (match === null) throw this.fault(name, `${JSON.stringify(text)} is not a duration such as 400ms, 30s or 15m`);
    const units: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
    return match[1] === undefined ? 0 : Number(match[1]) * units[match[2]!]!;
  }

  cidrs(name: OptionName, family: 4 | 6): readonly Cidr[] {
    return this.list(name).map((text) => {
      try {
        const cidr = parseCidr(text);
        if (cidr.address.family !== family) throw this.fault(name, `${text} is not an IPv${family} prefix`);
        return cidr;
      } catch (error) {
        throw error instanceof WeirError && error.code === 'ADDRESS_INVALID' ? this.fault(name, error.message) : error;
      }
    });
  }

  listener(name: OptionName): { readonly host: string; readonly port: number } {
    const text = this.text(name) ?? '';
    const match = /^(?:\[([^\]]*)\]|([^:]*)):(\d{1,5})$/.exec(text);
    if (match === null || Number(match[3]) > 65_535) throw this.fault(name, `${JSON.stringify(text)} is not HOST:PORT`);
    const host = match[1] ?? match[2] ?? '';
    return { host: host === '' ? '::' : host, port: Number(match[3]) };
  }
}
