/**
 * What a runtime may say about a pod besides its container: `CNI_ARGS` (set by Kubernetes runtimes), and the `args` and
 * `runtimeConfig` of the configuration (the conventions of the CNI project).
 */
import type { NetworkConfig } from './config.ts';
import { invalid } from './environment.ts';
import {
  integerField,
  isObject,
  listField,
  objectField,
  pathOf,
  stringListField,
  wrongField,
  type Fields,
} from './fields.ts';

/** Variables of CNI_ARGS that the plugin knows. */
const KNOWN_ARGS = [
  'IgnoreUnknown',
  'K8S_POD_NAMESPACE',
  'K8S_POD_NAME',
  'K8S_POD_UID',
  'K8S_POD_INFRA_CONTAINER_ID',
] as const;

/** The pod, as CNI_ARGS names it; fields that are absent or empty there are absent. */
export interface PodArgs {
  readonly namespace?: string;
  readonly name?: string;
  readonly uid?: string;
}

/**
 * Parses `KEY=VALUE;KEY=VALUE`.
 *
 * @throws CniError invalidEnvironment when a pair has no `=`, or a key is unknown and `IgnoreUnknown` is not set.
 */
export function parsePodArgs(text: string | undefined): PodArgs {
  const args = new Map<string, string>();
  for (const pair of (text ?? '').split(';')) {
    if (pair === '') continue;
    const eq = pair.indexOf('=');
    if (eq <= 0) throw invalid('CNI_ARGS', text!, 'KEY=VALUE pairs separated by ";"');
    args.set(pair.slice(0, eq), pair.slice(eq + 1));
  }
  const unknown = [...args.keys()].filter((key) => !(KNOWN_ARGS as readonly string[]).includes(key));
  if (unknown.length > 0 && !['1', 'true'].includes((args.get('IgnoreUnknown') ?? '').toLowerCase())) {
    throw invalid('CNI_ARGS', text!, `free of ${unknown.join(', ')}, or contain IgnoreUnknown=1`);
  }
  const namespace = args.get('K8S_POD_NAMESPACE') ?? '';
  const name = args.get('K8S_POD_NAME') ?? '';
  const uid = args.get('K8S_POD_UID') ?? '';
  return { ...(namespace !== '' && { namespace }), ...(name !== '' && { name }), ...(uid !== '' && { uid }) };
}

/**
 * Labels for a pod that the agent knows no Pod object of: `args.labels`, `args["org.weir/labels"]` and `args.cni.labels`,
 * each a list of `{key, value}`, a list of `key=value` texts, or an object. A key without a source gets `k8s`. Later ones
 * win.
 *
 * @throws CniError invalidConfig
 */
export function podLabels(config: NetworkConfig): readonly string[] {
  const args = objectField(config.fields, 'args');
  if (args === undefined) return [];
  const cni = objectField(args, 'cni');
  const labels = new Map<string, string>();
  for (const [fields, key] of [
    [args, 'labels'],
    [args, 'org.weir/labels'],
    [cni, 'labels'],
  ] as const) {
    if (fields === undefined) continue;
    for (const label of labelsField(fields, key)) labels.set(label.key, label.value);
  }
  return [...labels].map(([key, value]) => (value === '' ? key : `${key}=${value}`));
}

interface LabelText {
  /** With its source. */
  readonly key: string;
  readonly value: string;
}

function labelsField(fields: Fields, key: string): readonly LabelText[] {
  const path = pathOf(fields, key);
  const value = fields.values[key] ?? undefined;
  if (value === undefined) return [];
  if (isObject(value)) return Object.entries(value).map(([name, text]) => labelOf(name, text, path));
  return (listField(fields, key) ?? []).map((item, i) => {
    if (isObject(item)) return labelOf(item['key'], item['value'] ?? '', `${path}[${i}]`);
    if (typeof item !== 'string') throw wrongField(`${path}[${i}]`, item, 'an object {key, value} or a text key=value');
    const eq = item.indexOf('=');
    return labelOf(eq < 0 ? item : item.slice(0, eq), eq < 0 ? '' : item.slice(eq + 1), `${path}[${i}]`);
  });
}

function labelOf(key: unknown, value: unknown, path: string): LabelText {
  if (typeof value !== 'string') throw wrongField(path, value, 'a label whose value is a text');
  const [source, name] = typeof key === 'string' ? splitSource(key) : ['', ''];
  // Identities of the reserved source are Weir's own: no container may claim to be the host.
  if (source === '' || source === 'reserved' || name === '') {
    throw wrongField(path, key, 'a label whose key is not empty and whose source is not "reserved"');
  }
  return { key: `${source}:${name}`, value };
}

function splitSource(key: string): readonly [source: string, name: string] {
  const colon = key.indexOf(':');
  return colon < 0 ? ['k8s', key] : [key.slice(0, colon), key.slice(colon + 1)];
}

/** Addresses that the runtime asks for, without prefix lengths; a family that is absent is the agent's choice. */
export interface RequestedIps {
  readonly ipv4?: string;
  readonly ipv6?: string;
}

/**
 * `runtimeConfig.ips`, else `args.cni.ips`.
 *
 * @throws CniError invalidConfig when there are two of one family: a pod has one address of each.
 */
export function requestedIps(config: NetworkConfig): RequestedIps {
  const runtime = objectField(config.fields, 'runtimeConfig');
  const args = objectField(config.fields, 'args');
  const cni = args === undefined ? undefined : objectField(args, 'cni');
  const source = [runtime, cni].find((fields) => (fields?.values['ips'] ?? undefined) !== undefined);
  if (source === undefined) return {};
  const list = stringListField(source, 'ips') ?? [];
  const bare = list.map((ip) => ip.replace(/\/.*$/, ''));
  const ipv4 = bare.filter((ip) => !ip.includes(':'));
  const ipv6 = bare.filter((ip) => ip.includes(':'));
  if (ipv4.length > 1 || ipv6.length > 1)
    throw wrongField(pathOf(source, 'ips'), list, 'at most one address of a family');
  return { ...(ipv4[0] !== undefined && { ipv4: ipv4[0] }), ...(ipv6[0] !== undefined && { ipv6: ipv6[0] }) };
}

/** MTU of the pod's interface in bytes, if the configuration sets one: 68 (RFC 791) to 65535, the most a veth takes. */
export function requestedMtu(config: NetworkConfig): number | undefined {
  const mtu = config.fields.values['mtu'] ?? undefined;
  if (mtu === undefined || mtu === 0) return undefined;
  if (Number.isInteger(mtu) && (mtu as number) >= 68 && (mtu as number) <= 65535) return mtu as number;
  throw wrongField('mtu', mtu, 'a whole number from 68 to 65535, or 0 for the default');
}

/** Bits a second, and bytes that may pass at once; the agent's choice where absent. */
export interface RequestedLimit {
  readonly 'bits-per-second': number;
  readonly 'burst-bytes'?: number;
}

export interface RequestedBandwidth {
  readonly ingress?: RequestedLimit;
  readonly egress?: RequestedLimit;
}

/** As Kubernetes' annotations: what is outside is a mistake. */
const [LEAST_RATE, MOST_RATE] = [1e3, 1e15];

/** The capability `bandwidth`: rates in bits a second and bursts in bits, of which 0 is none. */
export function requestedBandwidth(config: NetworkConfig): RequestedBandwidth {
  const runtime = objectField(config.fields, 'runtimeConfig');
  const fields = runtime && objectField(runtime, 'bandwidth');
  if (fields === undefined) return {};
  const limit = (direction: 'ingress' | 'egress'): RequestedBandwidth => {
    if (fields.values[`${direction}Rate`] === 0) return {};
    const rate = integerField(fields, `${direction}Rate`, LEAST_RATE, MOST_RATE);
    const burst = integerField(fields, `${direction}Burst`, 0, Number.MAX_SAFE_INTEGER) ?? 0;
    if (rate === undefined) return {};
    return { [direction]: { 'bits-per-second': rate, ...(burst > 0 && { 'burst-bytes': Math.ceil(burst / 8) }) } };
  };
  return { ...limit('ingress'), ...limit('egress') };
}
