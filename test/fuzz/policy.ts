/** The policy engine against random histories: each seed is a case, and a case that fails is made small. */
import { checkPolicyCase } from './policy-check.ts';
import { policyCase, type PolicyCase } from './policy-cases.ts';
import type { PolicyKernel } from './policy-kernel.ts';
import { Random } from './random.ts';
import { shrink } from './shrink.ts';

export interface Failure {
  readonly seed: number;
  readonly error: Error;
  /** The smallest case found that fails in the same way. */
  readonly smallest: PolicyCase;
}

/** How many of a case's probes are sent through the kernel's programs. */
const PACKETS = 12;

/** Runs the case of a seed; undefined when every property holds. */
export async function fuzzPolicy(seed: number, kernel: PolicyKernel): Promise<Failure | undefined> {
  const found = policyCase(new Random(seed));
  const error = await failure(found, kernel);
  if (error === undefined) return undefined;
  const smallest = await shrink(found, async (candidate) => {
    const other = await failure(candidate, kernel);
    return other !== undefined && kindOf(other) === kindOf(error);
  });
  return { seed, error: (await failure(smallest, kernel)) ?? error, smallest };
}

async function failure(candidate: PolicyCase, kernel: PolicyKernel): Promise<Error | undefined> {
  try {
    for (const subject of checkPolicyCase(candidate)) await kernel.check(subject, candidate.probes.slice(-PACKETS));
    return undefined;
  } catch (thrown) {
    return thrown instanceof Error ? thrown : new Error(String(thrown));
  }
}

/** What property failed, wherever: the words before the first colon. */
function kindOf(error: Error): string {
  return `${error.name} ${error.message.split(/[:\n]/, 1)[0] ?? ''}`;
}
