import type { Label } from './labels.ts';

/** A numeric security identity (semantics.md S1). */
export type IdentityId = number & { readonly __brand: 'IdentityId' };

/** Brands a number that is known to be a valid identity: an unsigned 32-bit integer. */
export const identityId = (n: number): IdentityId => n as IdentityId;

/** The reserved identities and their numbers (S1). `any` is the wildcard of policy maps, never a packet's identity. */
export const RESERVED_IDENTITY = {
  any: identityId(0),
  host: identityId(1),
  world: identityId(2),
  unmanaged: identityId(3),
  health: identityId(4),
  init: identityId(5),
  'remote-node': identityId(6),
  'kube-apiserver': identityId(7),
  ingress: identityId(8),
  'world-ipv4': identityId(9),
  'world-ipv6': identityId(10),
} as const;

/** A reserved identity's name. */
export type ReservedName = keyof typeof RESERVED_IDENTITY;

/** Bounds of the identity scopes (S1), each inclusive. */
export const IDENTITY_SCOPE = {
  wellKnown: { first: 100, last: 127 },
  userReserved: { first: 128, last: 255 },
  cluster: { first: 256, last: 65535 },
  local: { first: 1 << 24, last: (2 << 24) - 1 },
  remoteNode: { first: 2 << 24, last: (3 << 24) - 1 },
} as const;

/** An identity: its number and its canonical label set (S5). */
export interface Identity {
  readonly id: IdentityId;
  /** Canonical: sorted, one value per source and key. */
  readonly labels: readonly Label[];
}
