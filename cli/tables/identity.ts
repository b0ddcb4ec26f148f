/** Identities and addresses as cilium-dbg prints them. Pure. */
import type { Identity, IdentityEndpoints, IPListEntry } from '../../agent/api/models.ts';
import { RESERVED_IDENTITY } from '../../agent/model/identity.ts';
import type { Row } from '../output/table.ts';

/** Labels by identity number, for commands that show labels in place of numbers. */
export type IdentityLabels = ReadonlyMap<number, readonly string[]>;

export function identityLabels(identities: readonly Identity[]): IdentityLabels {
  return new Map(identities.map((identity) => [identity.id ?? 0, (identity.labels ?? []).toSorted()]));
}

export function identityRows(identities: readonly Identity[]): Row[] {
  const rows = identities
    .toSorted((a, b) => (a.id ?? 0) - (b.id ?? 0))
    .flatMap((identity) => stacked([String(identity.id ?? 0)], identity.labels ?? [], []));
  return [['ID', 'LABELS'], ...rows];
}

export function identityEndpointRows(identities: readonly IdentityEndpoints[]): Row[] {
  const rows = identities
    .toSorted((a, b) => (a.identity?.id ?? 0) - (b.identity?.id ?? 0))
    .flatMap(({ identity, refCount }) =>
      stacked([String(identity?.id ?? 0)], identity?.labels ?? [], [String(refCount ?? 0)]),
    );
  return [['ID', 'LABELS', 'REFCOUNT'], ...rows];
}

export interface IpRowOptions {
  /** Print numbers, not labels. */
  readonly numeric: boolean;
  readonly verbose: boolean;
}

export function ipRows(entries: readonly IPListEntry[], labels: IdentityLabels, options: IpRowOptions): Row[] {
  const header = ['IP', 'IDENTITY', 'SOURCE', ...(options.verbose ? ['HOST', 'ENCRYPT_KEY'] : [])];
  const rows = entries
    .toSorted((a, b) => (a.cidr < b.cidr ? -1 : 1))
    .flatMap((entry) => {
      const rest = [
        entry.metadata?.source ?? '',
        ...(options.verbose ? [entry.hostIP ?? '', String(entry.encryptKey ?? 0)] : []),
      ];
      return stacked(
        [entry.cidr],
        options.numeric ? [String(entry.identity)] : identityTexts(entry.identity, labels),
        rest,
      );
    });
  return [header, ...rows];
}

/** An identity in words: the name of a reserved one, the labels of another, its number when nothing more is known. */
export function identityTexts(id: number, labels: IdentityLabels): readonly string[] {
  const reserved = Object.entries(RESERVED_IDENTITY).find(([, number]) => number === id);
  if (reserved !== undefined && id !== 0) return [`reserved:${reserved[0]}`];
  const known = labels.get(id);
  return known === undefined || known.length === 0 ? [String(id)] : known;
}

/** One line a text, between what stands before and after it on the first line. */
export function stacked(before: readonly string[], texts: readonly string[], after: readonly string[]): Row[] {
  const [first, ...others] = texts;
  return [[...before, first ?? '', ...after], ...others.map((text): Row => [...before.map(() => ''), text])];
}
