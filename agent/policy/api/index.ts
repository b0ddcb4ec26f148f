/**
 * From an object as a user wrote it to the one internal rule: decode, validate, convert. Pure; never throws on bad input.
 */
import type { Rule } from '../rule.ts';
import { ciliumPolicy } from './cilium-policy.ts';
import { clusterNetworkPolicy } from './cluster-network-policy.ts';
import { isObject } from './decode.ts';
import type { PolicyIssue } from './issue.ts';
import { isAudited } from './metadata.ts';
import { nearestName } from './nearest.ts';
import { networkPolicy } from './network-policy.ts';
import { DEFAULT_DECODE_OPTIONS, type DecodeOptions } from './options.ts';
import { Reading } from './reading.ts';

export { formatIssue, type PolicyIssue } from './issue.ts';
export { AUDIT_ANNOTATION } from './metadata.ts';
export { DEFAULT_DECODE_OPTIONS, type DecodeOptions } from './options.ts';

type ReadPolicy = (object: Readonly<Record<string, unknown>>, reading: Reading) => readonly Rule[];

/** Which group a kind belongs to, the versions this decoder knows, and who reads it. */
const KINDS = {
  CiliumNetworkPolicy: kind('cilium.io', ['v2'], (object, reading) =>
    ciliumPolicy(object, 'CiliumNetworkPolicy', reading),
  ),
  CiliumClusterwideNetworkPolicy: kind('cilium.io', ['v2'], (object, reading) =>
    ciliumPolicy(object, 'CiliumClusterwideNetworkPolicy', reading),
  ),
  NetworkPolicy: kind('networking.k8s.io', ['v1'], networkPolicy),
  ClusterNetworkPolicy: kind('policy.networking.k8s.io', ['v1alpha2'], clusterNetworkPolicy),
} as const;

function kind(group: string, versions: readonly string[], read: ReadPolicy) {
  return { apiVersions: versions.map((version) => `${group}/${version}`), read };
}

export type PolicyKind = keyof typeof KINDS;

/** The kinds that {@link decodePolicy} understands. */
export const POLICY_KINDS = Object.keys(KINDS) as readonly PolicyKind[];

/** Whether {@link decodePolicy} understands objects of this kind. */
export function isPolicyKind(name: string): name is PolicyKind {
  return Object.hasOwn(KINDS, name);
}

/** The policy kind that a misspelt name was meant to be. */
export function nearestPolicyKind(name: string): PolicyKind | undefined {
  return nearestName(name, POLICY_KINDS) as PolicyKind | undefined;
}

/** One bad rule rejects the whole object (S36): either all its rules, or everything that is wrong with it. */
export type DecodeResult =
  | { readonly rules: readonly Rule[]; readonly errors?: undefined }
  | { readonly errors: readonly PolicyIssue[]; readonly rules?: undefined };

/** Decodes one policy object of any kind. Where it came from does not matter; fields are named by their path in it. */
export function decodePolicy(object: unknown, options: DecodeOptions = DEFAULT_DECODE_OPTIONS): DecodeResult {
  const reading = new Reading(options);
  const rules = readPolicy(object, reading);
  return reading.issues.length > 0 ? { errors: reading.issues } : { rules };
}

function readPolicy(object: unknown, reading: Reading): readonly Rule[] {
  if (!isObject(object)) {
    reading.wrongType(object, 'an object');
    return [];
  }
  const { kind: name, apiVersion } = object;
  if (typeof name !== 'string' || !isPolicyKind(name)) {
    reading.at('kind', () => reading.unknownName('kind', String(name), POLICY_KINDS));
    return [];
  }
  const { apiVersions, read } = KINDS[name];
  if (!apiVersions.includes(String(apiVersion))) {
    reading.schemaIssue(`unknown version of ${name}`, {
      under: ['apiVersion'],
      ...(apiVersion === undefined ? {} : { value: apiVersion }),
      remedy: `write ${apiVersions.join(' or ')}`,
    });
  }
  const audited = isAudited(object, reading);
  const rules = read(object, reading);
  return audited ? rules.map((rule) => ({ ...rule, audited })) : rules;
}
