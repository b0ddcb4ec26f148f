/** Selectors of pods and namespaces as Kubernetes' own policies have them: keys mean labels of source k8s (S19). */
import { LABEL } from '../../model/labels.ts';
import type { LabelSelector } from '../rule.ts';
import { hasKey, labelSelector, finishSelector, type SelectorDraft } from './label-selector.ts';
import type { Reading } from './reading.ts';

const NAMESPACE = `k8s:${LABEL.podNamespace}`;
const CLUSTER = `k8s:${LABEL.cluster}`;

export const podSelector = labelSelector({ source: 'k8s', schemaOnly: true });

/** Its keys are labels of namespaces, which identities carry under a prefix (S4). */
export const namespaceSelector = labelSelector({
  source: 'k8s',
  keyPrefix: `${LABEL.namespaceLabels}.`,
  schemaOnly: true,
});

/** Pods of one namespace. */
export function podsIn(namespace: string, pods: SelectorDraft | undefined): SelectorDraft {
  const { labels, expressions } = pods ?? { labels: new Map<string, string>(), expressions: [] };
  return { labels: new Map([...labels, [NAMESPACE, namespace]]), expressions };
}

/** Pods that match both; an empty namespace selector is every namespace (S32). */
export function podsOf(namespaces: SelectorDraft, pods: SelectorDraft | undefined): SelectorDraft {
  const empty = namespaces.labels.size + namespaces.expressions.length === 0;
  return {
    labels: new Map([...namespaces.labels, ...(pods?.labels ?? [])]),
    expressions: [
      ...(empty ? [{ key: NAMESPACE, operator: 'Exists' as const, values: [] }] : namespaces.expressions),
      ...(pods?.expressions ?? []),
    ],
  };
}

/** The selector, of the own cluster unless it names another. */
export function inOwnCluster(draft: SelectorDraft, { options }: Reading): LabelSelector {
  if (!options.defaultLocalCluster || hasKey(draft, (key) => key === CLUSTER)) return finishSelector(draft);
  return finishSelector({ ...draft, labels: new Map([...draft.labels, [CLUSTER, options.clusterName]]) });
}
