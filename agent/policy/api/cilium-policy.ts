/** CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy: `spec`, `specs`, or both. */
import type { Rule } from '../rule.ts';
import { ciliumRule } from './cilium-rule.ts';
import { list, type Decoder } from './decode.ts';
import { originOf } from './metadata.ts';
import type { Reading } from './reading.ts';
import { topLevel } from './top-level.ts';

export function ciliumPolicy(
  object: Readonly<Record<string, unknown>>,
  kind: 'CiliumNetworkPolicy' | 'CiliumClusterwideNetworkPolicy',
  reading: Reading,
): readonly Rule[] {
  topLevel(object, ['spec', 'specs'], reading);
  const origin = originOf(object, kind, kind === 'CiliumNetworkPolicy', reading);
  const { spec, specs } = object;
  const rule: Decoder<Rule> = (value, within) =>
    value === null ? within.wrongType(value, 'a rule') : ciliumRule(value, origin, within);
  if (isAbsent(spec) && isAbsent(specs)) {
    reading.issue('the policy has no rules', { under: ['spec'], remedy: 'add spec, or specs' });
  }
  const first = isAbsent(spec) ? null : reading.at('spec', () => rule(spec, reading));
  const more = isAbsent(specs) ? null : reading.at('specs', () => list(rule)(specs, reading));
  return [...(first === null ? [] : [first]), ...(more ?? [])];
}

function isAbsent(value: unknown): value is null | undefined {
  return value === undefined || value === null;
}
