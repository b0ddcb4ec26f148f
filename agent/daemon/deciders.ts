/** Whose decision an event of the kernel reports. */
import { DROP_POLICY_DENIED } from '../../bpf/gen/drops.ts';
import type { Endpoint } from '../endpoint/endpoint.ts';
import type { EndpointManager } from '../endpoint/manager.ts';
import type { FlowEvent } from '../flow/event.ts';
import { endpointId } from '../model/endpoint.ts';
import type { Direction } from '../model/mapstate.ts';
import type { DefaultDeny, PolicyEngine } from '../policy/contract.ts';
import type { RuleOrigin } from '../policy/rule.ts';

/** An agent before this one decided, or the endpoint has left so long ago, or is known so little yet, that nobody can tell. */
const BEFORE_RESTART = 'policy-before-restart';
const ENDPOINT_GONE = 'endpoint-gone';

export interface DeciderParts {
  readonly engine: Pick<PolicyEngine, 'cookie'>;
  readonly manager: { readonly index: Pick<EndpointManager['index'], 'byIdLately'> };
}

/**
 * Who decided: policies by name, those that turn on default deny among them, or what else denies what nothing allows (S12,
 * S14). Empty when no policy did.
 */
export function deciders(parts: DeciderParts, event: FlowEvent): readonly string[] {
  const endpoint = parts.manager.index.byIdLately(endpointId(event.endpoint));
  if (event.cookie !== 0 || isDefaultDeny(event)) {
    if (endpoint === undefined) return [ENDPOINT_GONE];
    if (event.time < endpoint.inheritedUntil) return [BEFORE_RESTART];
  }
  const meaning = event.cookie === 0 ? undefined : parts.engine.cookie(event.cookie);
  if (meaning !== undefined && meaning.origins.length > 0) return objectNames(meaning.origins);
  const { derivedFrom } = meaning ?? {};
  // What isolates a pod from all tiers is an entry of its own (S38), and says no more than that nothing allowed the packet.
  if (endpoint !== undefined && (isDefaultDeny(event) || derivedFrom?.startsWith('deny-any-') === true)) {
    return namesOf(defaultDenyOf(endpoint, event));
  }
  return derivedFrom === undefined ? [] : [derivedFrom];
}

/**
 * A number for the time of an event at an endpoint, among those with different deciders for events that are alike. It holds
 * within one turn of the event loop.
 */
export function deciderEra({ manager }: Pick<DeciderParts, 'manager'>, endpoint: number, time: number): number {
  const known = manager.index.byIdLately(endpointId(endpoint));
  if (known === undefined) return 0;
  const { inheritedUntil, replaced } = known;
  return (time < inheritedUntil ? 1 : 0) + (replaced !== undefined && time < replaced.until ? 2 : 0);
}

/** No entry matched, and that was the reason. */
function isDefaultDeny(event: FlowEvent): boolean {
  return event.type !== 'trace' && event.cookie === 0 && event.reason === DROP_POLICY_DENIED;
}

/** Why the endpoint denied what nothing allowed, when the packet came: its policy may be another one by now. */
function defaultDenyOf({ realized, replaced, policy }: Endpoint, event: FlowEvent): DefaultDeny | undefined {
  for (const direction of judgedDirections(event)) {
    const now = realized?.defaultDeny[direction] ?? policy?.defaultDeny[direction];
    const before = replaced?.defaultDeny[direction];
    const isOfBefore = replaced !== undefined && event.time < replaced.until;
    const found = isOfBefore ? (before ?? now) : (now ?? before);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** A reply is dropped by the policy of the direction that opened its connection; which that is, an ICMP error does not tell. */
function judgedDirections({ direction, connection }: FlowEvent): readonly Direction[] {
  const opposite = direction === 'ingress' ? 'egress' : 'ingress';
  if (connection === 'reply') return [opposite];
  return connection === 'related' ? [direction, opposite] : [direction];
}

function namesOf(defaultDeny: DefaultDeny | undefined): readonly string[] {
  if (defaultDeny === undefined) return [];
  const names = objectNames(defaultDeny.origins);
  return names.length === 0 && defaultDeny.derivedFrom !== undefined ? [defaultDeny.derivedFrom] : names;
}

/** Each object once. */
export function objectNames(origins: readonly RuleOrigin[]): readonly string[] {
  const names = origins.map(({ kind, namespace, name }) => `${kind} ${namespace === '' ? '' : `${namespace}/`}${name}`);
  return [...new Set(names)];
}
