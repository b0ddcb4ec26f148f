import type { Endpoint } from '../endpoint/endpoint.ts';
import type { EndpointId } from '../model/endpoint.ts';
import type { NodeKernel } from './node-kernel.ts';

/** How full an endpoint's policy map is, or would be, if its policy went into it. */
export interface PolicyMapUse {
  /** What the policy takes, written or not. */
  readonly entries: number;
  readonly maxEntries: number;
  /** The policy does not fit: all of the endpoint's traffic is dropped until it does. */
  readonly lockdown: boolean;
}

/** From this share on people should hear of it. */
const NEARLY_FULL = 0.9;

/** Of those that have a policy. */
export function policyMapUses(
  endpoints: readonly Endpoint[],
  kernel: NodeKernel,
): ReadonlyMap<EndpointId, PolicyMapUse> {
  const lockdowns = new Set(kernel.lockdowns());
  const uses = new Map<EndpointId, PolicyMapUse>();
  for (const { id, policy } of endpoints) {
    if (policy === undefined) continue;
    const entries = policy.mapState.size;
    uses.set(id, { entries, maxEntries: kernel.policyMapMax, lockdown: lockdowns.has(id) });
  }
  return uses;
}

/** Whether the map is full, or will be soon. */
export function isPressed({ entries, maxEntries, lockdown }: PolicyMapUse): boolean {
  return lockdown || entries >= NEARLY_FULL * maxEntries;
}
