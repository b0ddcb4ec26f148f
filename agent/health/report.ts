import type { Address } from '../model/address.ts';

/** What the last probe of an address by one protocol came to, `at` milliseconds since the epoch. */
export type Outcome =
  | { readonly kind: 'answered'; readonly nanoseconds: number; readonly at: number }
  | { readonly kind: 'failed'; readonly message: string; readonly at: number };

export const PROTOCOLS = ['icmp', 'http'] as const;
export type Protocol = (typeof PROTOCOLS)[number];

/** An address of a node, or of its health endpoint; a protocol is absent until it was probed. */
export interface PathHealth extends Readonly<Partial<Record<Protocol, Outcome>>> {
  readonly address: Address;
}

/** How a node was reached last; the first address of each is the primary one. */
export interface NodeHealth {
  readonly name: string;
  readonly host: readonly PathHealth[];
  /** Empty for a node that announces no health endpoint. */
  readonly endpoint: readonly PathHealth[];
}

export interface HealthReport {
  /** Name of this node. */
  readonly self: string;
  /** By name, this one among them. */
  readonly nodes: readonly NodeHealth[];
  /** When the last probe ended, milliseconds since the epoch; undefined before the first. */
  readonly at: number | undefined;
  /** Every node is probed once in so many milliseconds. */
  readonly intervalMs: number;
}

export type Reachability = 'reachable' | 'unreachable' | 'unknown';

/** Reachable where every address answers by every protocol; unknown while that has not been tried. */
export function reachability(paths: readonly PathHealth[]): Reachability {
  const outcomes = paths.flatMap((path) => PROTOCOLS.map((protocol) => path[protocol]));
  if (outcomes.some((outcome) => outcome?.kind === 'failed')) return 'unreachable';
  return outcomes.length === 0 || outcomes.includes(undefined) ? 'unknown' : 'reachable';
}

/** What of a node cannot be reached: `node`, `endpoint`. */
export function unreachableParts({ host, endpoint }: NodeHealth): readonly ('node' | 'endpoint')[] {
  return [
    ...(reachability(host) === 'unreachable' ? ['node' as const] : []),
    ...(reachability(endpoint) === 'unreachable' ? ['endpoint' as const] : []),
  ];
}
