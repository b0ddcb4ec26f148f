/**
 * Who says that a prefix has an identity. Several may speak of one prefix at once; the first in this order is believed.
 *
 * - `reserved`: this node itself: its own addresses, the router, the health endpoint, `0.0.0.0/0` as world. Nobody may
 *   claim such an address for a workload.
 * - `kube-apiserver`: addresses of the API server; they keep their identity even when a pod's or CIDR's is known too.
 * - `local`: endpoints of this agent. It created them, so it knows best.
 * - `kvstore`, `custom-resource`: endpoints and nodes as other agents announce them.
 * - `kubernetes`: what is only inferred from Pod and Node objects, and may lag behind.
 * - `fqdn`: addresses that DNS answers gave to names which policies select. Their identities include what policies say
 *   of the prefix, and nothing about what lives there: whoever knows a workload at the same address goes first (S22).
 * - `generated`: prefixes that policies name, with identities made up for them; they, too, say nothing of workloads.
 * - `restored`: what the kernel held before the agent restarted, until a better source has spoken.
 */
export const IPCACHE_SOURCES = [
  'reserved',
  'kube-apiserver',
  'local',
  'kvstore',
  'custom-resource',
  'kubernetes',
  'fqdn',
  'generated',
  'restored',
] as const;

export type IpcacheSource = (typeof IPCACHE_SOURCES)[number];

const RANKS = new Map<IpcacheSource, number>(IPCACHE_SOURCES.map((source, rank) => [source, rank]));

/** Whether `a` is believed over `b`; false when they are the same. */
export function sourceOutranks(a: IpcacheSource, b: IpcacheSource): boolean {
  return RANKS.get(a)! < RANKS.get(b)!;
}
