import { WeirError } from './errors.ts';

/** A label with its source, such as `k8s:app=web` (S19). */
export interface Label {
  /** `k8s`, `reserved`, `cidr`, `fqdn`, `cidrgroup`, `any`, `unspec`, `node`, `container` … */
  readonly source: string;
  readonly key: string;
  /** Empty when the label has no value. */
  readonly value: string;
}

/**
 * Parses `source:key=value`, `key=value`, `source:key` and `key`. A text without a source gets `defaultSource`.
 * A colon inside the key counts only as a source separator when it comes before the first `=`.
 *
 * @throws WeirError LABELS_INVALID when the key is empty.
 */
export function parseLabel(text: string, defaultSource = 'unspec'): Label {
  const eq = text.indexOf('=');
  const head = eq < 0 ? text : text.slice(0, eq);
  const value = eq < 0 ? '' : text.slice(eq + 1);
  const colon = head.indexOf(':');
  const source = colon <= 0 ? defaultSource : head.slice(0, colon);
  const key = colon < 0 ? head : head.slice(colon + 1);
  if (key === '') throw new WeirError('LABELS_INVALID', `label ${JSON.stringify(text)} has no key`);
  return { source, key, value };
}

/** `source:key=value`, or `source:key` when the value is empty. */
export function formatLabel(label: Label): string {
  return label.value === '' ? `${label.source}:${label.key}` : `${label.source}:${label.key}=${label.value}`;
}

/** Order of canonical label sets: by key, then source, then value, in code-unit order. */
export function compareLabels(a: Label, b: Label): number {
  if (a.key !== b.key) return a.key < b.key ? -1 : 1;
  if (a.source !== b.source) return a.source < b.source ? -1 : 1;
  return a.value === b.value ? 0 : a.value < b.value ? -1 : 1;
}

/** The canonical form of a label set: sorted, the last value of a source's key wins (S5). */
export function canonicalLabels(labels: Iterable<Label>): readonly Label[] {
  const byKey = new Map<string, Label>();
  for (const label of labels) byKey.set(`${label.source}:${label.key}`, label);
  return [...byKey.values()].sort(compareLabels);
}

/** A string that is equal for equal canonical sets, and only for them. */
export function labelSetKey(canonical: readonly Label[]): string {
  return canonical.map((l) => `${l.source}:${l.key}=${l.value};`).join('');
}

/** Label keys with a meaning of their own (S3, S4). */
export const LABEL = {
  podNamespace: 'io.kubernetes.pod.namespace',
  podName: 'io.kubernetes.pod.name',
  serviceAccount: 'io.cilium.k8s.policy.serviceaccount',
  cluster: 'io.cilium.k8s.policy.cluster',
  namespaceLabels: 'io.cilium.k8s.namespace.labels',
} as const;
