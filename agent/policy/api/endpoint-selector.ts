/** Selectors of endpoints and nodes in Cilium's kinds, and the namespace and cluster they silently mean (S17–S19). */
import { LABEL } from '../../model/labels.ts';
import type { LabelSelector, PeerSelector } from '../rule.ts';
import { list, then, type Decoder } from './decode.ts';
import { finishSelector, hasKey, nullableSelector, type SelectorDraft } from './label-selector.ts';
import type { Reading } from './reading.ts';

const NAMESPACE = `k8s:${LABEL.podNamespace}`;
const CLUSTER = `k8s:${LABEL.cluster}`;

/** A selector whose unprefixed keys match labels of any source. */
export const endpointSelector = nullableSelector({ source: 'any' });

/** `fromEndpoints`, `toEndpoints`. */
export const endpointPeers: Decoder<readonly PeerSelector[]> = list(
  then(endpointSelector, (draft, reading) => ({ kind: 'labels' as const, selector: scopedPeer(draft, reading) })),
);

/** `fromNodes`, `toNodes`: only when node identities carry node labels (S25). */
export const nodePeers: Decoder<readonly PeerSelector[]> = then(
  list(then(endpointSelector, (draft, reading) => ({ kind: 'nodes' as const, selector: scopedNode(draft, reading) }))),
  (peers, reading) => {
    if (peers.length > 0 && !reading.options.nodeSelectorLabels) {
      reading.issue('nodes cannot be selected by label: node identities carry no labels', {
        remedy: 'turn on enable-node-selector-labels, or select the entities host and remote-node',
      });
    }
    return peers;
  },
);

/**
 * The subject of a namespaced rule lies in the policy's own namespace, whatever its selector says (S18); of a
 * clusterwide one it may lie anywhere.
 */
export function scopedSubject(draft: SelectorDraft, namespace: string): LabelSelector {
  if (namespace !== '') draft.labels.set(NAMESPACE, namespace);
  return finishSelector(draft);
}

/** Whether a selector asks for pods that are still being set up. */
export function selectsInit(draft: SelectorDraft): boolean {
  return hasKey(draft, (key) => key === 'reserved:init');
}

function scopedPeer(draft: SelectorDraft, reading: Reading): LabelSelector {
  // Reserved identities have neither namespace nor cluster.
  if (hasKey(draft, (key) => key.startsWith('reserved:'))) return finishSelector(draft);
  const { namespace, subjectIsInit } = reading.scope;
  if (!hasKey(draft, (key) => isLabel(key, LABEL.podNamespace))) {
    if (namespace === '') {
      // Every managed pod has a namespace; without this the empty selector would mean the whole world.
      if (!subjectIsInit) draft.expressions.push({ key: NAMESPACE, operator: 'Exists', values: [] });
    } else if (!hasKey(draft, isNamespaceLabel)) {
      draft.labels.set(NAMESPACE, namespace);
    }
  }
  addCluster(draft, reading);
  return finishSelector(draft);
}

function scopedNode(draft: SelectorDraft, reading: Reading): LabelSelector {
  draft.expressions.push({ key: 'reserved:remote-node', operator: 'Exists', values: [] });
  addCluster(draft, reading);
  return finishSelector(draft);
}

function addCluster(draft: SelectorDraft, { options }: Reading): void {
  if (!options.defaultLocalCluster || hasKey(draft, (key) => isLabel(key, LABEL.cluster))) return;
  draft.labels.set(CLUSTER, options.clusterName);
}

function isLabel(key: string, label: string): boolean {
  return key === `k8s:${label}` || key === `any:${label}`;
}

function isNamespaceLabel(key: string): boolean {
  return key.startsWith(`k8s:${LABEL.namespaceLabels}.`) || key.startsWith(`any:${LABEL.namespaceLabels}.`);
}
