import type { EndpointState } from '../model/endpoint.ts';

/**
 * Which state may follow which. An endpoint starts in `waiting-for-identity`, or in `restoring` when the agent found it on
 * disk; `ready` means that everything wanted is enforced, `not-ready` that an older version still is.
 */
export const TRANSITIONS: Readonly<Record<EndpointState, readonly EndpointState[]>> = {
  'waiting-for-identity': ['waiting-to-regenerate', 'not-ready', 'disconnecting', 'invalid'],
  'waiting-to-regenerate': ['regenerating', 'waiting-for-identity', 'disconnecting', 'invalid'],
  regenerating: ['ready', 'not-ready', 'waiting-to-regenerate', 'waiting-for-identity', 'disconnecting', 'invalid'],
  ready: ['waiting-to-regenerate', 'waiting-for-identity', 'not-ready', 'disconnecting'],
  'not-ready': ['waiting-to-regenerate', 'waiting-for-identity', 'disconnecting', 'invalid'],
  restoring: ['waiting-to-regenerate', 'waiting-for-identity', 'not-ready', 'disconnecting', 'invalid'],
  invalid: ['disconnecting', 'disconnected'],
  disconnecting: ['disconnected'],
  disconnected: [],
};

/** Whether `to` may follow `from`; a state may always follow itself. */
export function mayFollow(from: EndpointState, to: EndpointState): boolean {
  return from === to || TRANSITIONS[from].includes(to);
}

/** On its way out: nothing but its removal concerns it any more. */
export function isLeaving(state: EndpointState): boolean {
  return state === 'disconnecting' || state === 'disconnected' || state === 'invalid';
}
