/** The policy engine against random histories: each seed is a case, and a case that fails is made small. */
import { checkPolicyCase } from './policy-check.ts';
import { policyCase, type PolicyCase } from './policy-cases.ts';
import { Random } from './random.ts';
import { shrink } from './shrink.ts';

export interface Failure {
  readonly seed: number;
  readonly error: Error;
  /** The smallest case found that fails in the same way. */
  readonly smallest: PolicyCase;
}

/** Runs the case of a seed; undefined when every property holds. */
export function fuzzPolicy(seed: number): Failure | undefined {
  const found = policyCase(new Random(seed));
  const error = failure(found);
  if (error === undefined) return undefined;
  const smallest = shrink(found, (candidate) => {
    const other = failure(candidate);
    return other !== undefined && kindOf(other) === kindOf(error);
  });
  return { seed, error: failure(smallest) ?? error, smallest };
}

function failure(candidate: PolicyCase): Error | undefined {
  try {
    checkPolicyCase(candidate);
    return undefined;
  } catch (thrown) {
    return thrown instanceof Error ? thrown : new Error(String(thrown));
  }
}

/** What property failed, wherever: the words before the first colon. */
function kindOf(error: Error): string {
  return `${error.name} ${error.message.split(/[:\n]/, 1)[0] ?? ''}`;
}
