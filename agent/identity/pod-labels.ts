import { LABEL, type Label } from '../model/labels.ts';

/** What the labels of a pod are made of (S4). */
export interface PodFacts {
  readonly namespace: string;
  /** The pod's own labels. */
  readonly labels: Readonly<Record<string, string>>;
  readonly namespaceLabels: Readonly<Record<string, string>>;
  /** Empty when unknown. */
  readonly serviceAccount: string;
}

const DERIVED_KEYS: ReadonlySet<string> = new Set([LABEL.podNamespace, LABEL.serviceAccount, LABEL.cluster]);

/**
 * All labels of a pod, with source `k8s` (S4). A pod cannot choose the derived ones: what it says under their keys is
 * dropped, or anyone who may create a pod could take the identity of another namespace.
 */
export function podLabels(pod: PodFacts, cluster: string): Label[] {
  const labels: Label[] = [];
  const add = (key: string, value: string): void => void labels.push({ source: 'k8s', key, value });
  for (const [key, value] of Object.entries(pod.labels)) {
    if (!DERIVED_KEYS.has(key) && !key.startsWith(`${LABEL.namespaceLabels}.`)) add(key, value);
  }
  for (const [key, value] of Object.entries(pod.namespaceLabels)) add(`${LABEL.namespaceLabels}.${key}`, value);
  add(LABEL.podNamespace, pod.namespace);
  add(LABEL.cluster, cluster);
  if (pod.serviceAccount !== '') add(LABEL.serviceAccount, pod.serviceAccount);
  return labels;
}
