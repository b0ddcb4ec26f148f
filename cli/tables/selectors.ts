/** The selector cache as `cilium-dbg policy selectors` prints it. Pure. */
import type { LabelModel, SelectorCache } from '../../agent/api/models.ts';
import type { Row } from '../output/table.ts';
import { stacked } from './identity.ts';

/** `verbose` prints every label of the policies, otherwise their names. */
export function selectorRows(cache: SelectorCache, verbose: boolean): Row[] {
  const rows = cache
    .toSorted((a, b) => ((a.selector ?? '') < (b.selector ?? '') ? -1 : 1))
    .flatMap((mapping) => {
      const labels = mapping.labels ?? [];
      const before = [
        mapping.selector ?? '',
        verbose ? labels.map(labelText).toSorted().join(' ') : policyName(labels),
        String(mapping.users ?? 0),
      ];
      return stacked(before, (mapping.identities ?? []).map(String), []);
    });
  return [['SELECTOR', 'LABELS', 'USERS', 'IDENTITIES'], ...rows];
}

function labelText({ source, key, value }: LabelModel): string {
  return `${source ?? ''}:${key ?? ''}${value === undefined || value === '' ? '' : `=${value}`}`;
}

/** `namespace/name` of each policy, by the labels that a policy's rules carry. */
function policyName(labels: readonly LabelModel[]): string {
  const values = (key: string): string[] => labels.filter((l) => l.key === key).map((l) => l.value ?? '');
  const names = values('io.cilium.k8s.policy.name');
  const namespaces = values('io.cilium.k8s.policy.namespace');
  return names
    .map((name, i) => (namespaces[i] === undefined || namespaces[i] === '' ? name : `${namespaces[i]}/${name}`))
    .join(',');
}
