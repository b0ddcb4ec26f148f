/** Tries a pair, and compares with what the policy means for it. */
import { ANSWER_MS, waitFor } from '../../harness/wait.ts';
import type { Drops } from './drops.ts';
import type { Family, Pair, Protocol } from './places.ts';
import type { MatrixPolicy } from './policies.ts';

/** One column of the matrix. */
export interface Way {
  readonly protocol: Protocol;
  readonly family: Family;
}

export interface Outcome {
  readonly pair: Pair;
  readonly way: Way;
  readonly policy: MatrixPolicy;
  readonly expected: 'ok' | 'drop';
  readonly seen: string;
  /** What is wrong; empty when nothing is. */
  readonly fault: string;
}

/** What has to become of a pair's packets. */
export function expectation(pair: Pair, policy: MatrixPolicy): 'ok' | 'drop' {
  const { source, target } = pair;
  if (source.kind === 'pod' && !policy.egress) return 'drop';
  if (target.refusal?.(source) !== undefined) return 'drop';
  if (target.place.kind !== 'pod' || policy.ingress) return 'ok';
  return isOwnHost(pair) && policy.ownHost ? 'ok' : 'drop';
}

/** Whether the pod that answers sees its own node: whichever node's port that asks for, it is translated where it asks. */
function isOwnHost({ source, target }: Pair): boolean {
  return source.kind === 'host' && source.node === target.place.node;
}

/** Milliseconds until a packet counts as lost, and until one that should have come counts so. */
const PATIENCE = { drop: 400, ok: ANSWER_MS } as const;

export async function attempt(pair: Pair, way: Way, policy: MatrixPolicy, drops: Drops): Promise<Outcome> {
  const expected = expectation(pair, policy);
  const { source, target } = pair;
  const { protocol: op, family } = way;
  const seen = await source.actor.do({
    ...{ op, host: target.address(family), port: target.port, timeoutMs: PATIENCE[expected] },
  });
  const outcome = { pair, way, policy, expected, seen };
  if (expected === 'ok')
    return { ...outcome, fault: seen === 'ok' ? '' : `lost: ${seen}, ${dropText(drops, pair, way)}` };
  if (seen === 'ok') return { ...outcome, fault: 'got through' };
  return { ...outcome, fault: await unexplained(pair, way, policy, drops) };
}

/** Every drop has an event with a reason, and names the policy. @returns what is missing */
async function unexplained(pair: Pair, { protocol, family }: Way, policy: MatrixPolicy, drops: Drops): Promise<string> {
  try {
    const refusal = pair.target.refusal?.(pair.source);
    const event = await waitFor('the event', () =>
      drops.of(pair, protocol, family).find(({ reason }) => refusal === undefined || reason === refusal),
    );
    if (refusal !== undefined) return '';
    if (!/^Policy denied/.test(event.reason)) return `dropped for another reason: ${event.reason}`;
    if (event.policies?.includes(policy.drops ?? '') !== true) return `names ${event.policies?.join() ?? 'no policy'}`;
    return '';
  } catch {
    return 'dropped without an event';
  }
}

function dropText(drops: Drops, pair: Pair, { protocol, family }: Way): string {
  const reasons = new Set(drops.of(pair, protocol, family).map(({ reason }) => reason));
  return reasons.size === 0 ? 'no event' : [...reasons].join(', ');
}

/** Runs `work` on every item, so many at a time. */
export async function inParallel<T, R>(
  items: readonly T[],
  limit: number,
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < items.length) {
      const index = next++;
      results[index] = await work(items[index]!);
    }
  };
  await Promise.all(Array.from({ length: limit }, worker));
  return results;
}
