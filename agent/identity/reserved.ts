import { IDENTITY_SCOPE, RESERVED_IDENTITY, type Identity, type ReservedName } from '../model/identity.ts';
import type { Label } from '../model/labels.ts';

/** The label `reserved:<name>`. */
export function reservedLabel(name: Exclude<ReservedName, 'any'>): Label {
  return { source: 'reserved', key: name, value: '' };
}

/** Labels of the reserved identities beyond their own name (S1). */
const EXTRA: Partial<Record<ReservedName, readonly Label[]>> = { 'kube-apiserver': [reservedLabel('remote-node')] };

/** Every reserved identity but the wildcard, ascending (S1). */
export const RESERVED_IDENTITIES: readonly Identity[] = Object.entries(RESERVED_IDENTITY)
  .filter(([name]) => name !== 'any')
  .map(([name, id]) => ({
    id,
    labels: [{ source: 'reserved', key: name, value: '' }, ...(EXTRA[name as ReservedName] ?? [])],
  }));

/** Whether these are labels of this node itself. */
export function isHost(labels: readonly Label[]): boolean {
  return labels.some(({ source, key }) => source === 'reserved' && key === 'host');
}

/** Where the number of a label set comes from. */
export type IdentityScope = keyof typeof IDENTITY_SCOPE;

const LOCAL_SOURCES: ReadonlySet<string> = new Set(['cidr', 'fqdn', 'cidrgroup', 'reserved']);

/** The scope of a canonical label set that is not a reserved identity (S2). */
export function scopeOf(labels: readonly Label[]): 'cluster' | 'local' | 'remoteNode' {
  const reserved = new Set(labels.filter((label) => label.source === 'reserved').map((label) => label.key));
  if (reserved.has('remote-node')) return 'remoteNode';
  // The host and the ingress proxy are known to the whole cluster by what they carry besides.
  if (reserved.has('host') || reserved.has('ingress')) return 'cluster';
  return labels.length > 0 && labels.every((label) => LOCAL_SOURCES.has(label.source)) ? 'local' : 'cluster';
}

/**
 * The reserved identity with exactly these labels, if there is one. `reserved:init` stays that only while it stands
 * alone: an endpoint with user labels besides has an identity of its own.
 */
export function reservedIdentity(labels: readonly Label[]): Identity | undefined {
  return RESERVED_IDENTITIES.find(
    (identity) =>
      identity.labels.length === labels.length &&
      identity.labels.every((own) => labels.some((l) => l.source === own.source && l.key === own.key)),
  );
}
