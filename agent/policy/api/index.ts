/**
 * From an object as a user wrote it to the one internal rule: decode, validate, convert. Pure; never throws on bad input.
 */
import type { Rule } from '../rule.ts';
import type { PolicyIssue } from './issue.ts';
import type { DecodeOptions } from './options.ts';

export { formatIssue, type PolicyIssue } from './issue.ts';
export { DEFAULT_DECODE_OPTIONS, type DecodeOptions } from './options.ts';

/** The kinds that a {@link DecodePolicy} understands. */
export const POLICY_KINDS = [
  'CiliumNetworkPolicy',
  'CiliumClusterwideNetworkPolicy',
  'NetworkPolicy',
  'ClusterNetworkPolicy',
] as const;

export type PolicyKind = (typeof POLICY_KINDS)[number];

/** One bad rule rejects the whole object (S36): either all its rules, or everything that is wrong with it. */
export type DecodeResult =
  | { readonly rules: readonly Rule[]; readonly errors?: undefined }
  | { readonly errors: readonly PolicyIssue[]; readonly rules?: undefined };

/** Signature of `decodePolicy(object, options)`. */
export type DecodePolicy = (object: unknown, options?: DecodeOptions) => DecodeResult;
