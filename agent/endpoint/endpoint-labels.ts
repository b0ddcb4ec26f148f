import type { LabelFilter } from '../identity/label-filter.ts';
import { podLabels } from '../identity/pod-labels.ts';
import { reservedLabel } from '../identity/reserved.ts';
import { WeirError } from '../model/errors.ts';
import { canonicalLabels, labelSetKey, parseLabel, type Label } from '../model/labels.ts';
import type { Attachment, EndpointLabels } from './endpoint.ts';
import type { PodDirectory, PodRecord } from './pod-directory.ts';

/** What labels are made of, beside the endpoint's own. */
export interface LabelContext {
  readonly pods: PodDirectory;
  readonly filter: LabelFilter;
  readonly clusterName: string;
  /**
   * True when the runtime may know a pod before its object has come in, as with an API server: its labels are then unknown
   * (`reserved:init`), and it is denied what is not allowed (S12). False when the objects are all there are: then what
   * the runtime says is all there is to know.
   */
  readonly podsMayBeLate: boolean;
}

/** Labels of a new endpoint. `requested` are those of the request; undefined when it had none. */
export function initialLabels(
  context: LabelContext,
  attachment: Attachment,
  requested: readonly Label[] | undefined,
): EndpointLabels {
  const known = knownPodLabels(context, attachment);
  if (known !== undefined) return divide(context.filter, 'pod', known, []);
  const late = context.podsMayBeLate && attachment.podName !== '';
  if (late || (requested === undefined && attachment.namespace === '')) return divide(context.filter, 'init', [], []);
  const { namespace } = attachment;
  if (namespace === '') return divide(context.filter, 'request', requested ?? [], []);
  const own = Object.fromEntries((requested ?? []).map((label) => [label.key, label.value]));
  const facts = {
    namespace,
    labels: own,
    namespaceLabels: context.pods.namespaceLabels(namespace),
    serviceAccount: '',
  };
  return divide(context.filter, 'request', podLabels(facts, context.clusterName), []);
}

/**
 * Labels of an endpoint that lives, after something changed. Without a Pod object it keeps what it had: objects are
 * deleted before their containers are, and may be missing for a while after a restart.
 */
export function refreshedLabels(
  context: LabelContext,
  attachment: Attachment,
  present: EndpointLabels,
  user: readonly Label[] = present.user,
): EndpointLabels {
  const known = knownPodLabels(context, attachment);
  return known === undefined
    ? divide(context.filter, present.origin, present.derived, user)
    : divide(context.filter, 'pod', known, user);
}

/** Labels of the health endpoint: they make the reserved identity (S1), and nobody may add to them. */
export function healthLabels(): EndpointLabels {
  const all = [reservedLabel('health')];
  return { origin: 'health', derived: all, user: [], identity: all, information: [] };
}

/** Whether both make the same identity. */
export function sameIdentity(a: EndpointLabels, b: EndpointLabels): boolean {
  return labelSetKey(a.identity) === labelSetKey(b.identity);
}

/**
 * Labels as a request has them. Without a source they are the orchestrator's; reserved ones are refused, or a workload
 * could call itself the host.
 *
 * @throws WeirError LABELS_INVALID, ENDPOINT_INVALID
 */
export function requestedLabels(texts: readonly string[], field: string): Label[] {
  return texts.map((text) => {
    const label = parseLabel(text, 'k8s');
    if (
      label.source === 'reserved' ||
      label.source === 'cidr' ||
      label.source === 'fqdn' ||
      label.source === 'cidrgroup'
    ) {
      throw new WeirError('ENDPOINT_INVALID', `label ${text}: source ${label.source} is not for workloads`, { field });
    }
    return label;
  });
}

function knownPodLabels(context: LabelContext, attachment: Attachment): Label[] | undefined {
  const pod = podOf(context, attachment);
  return pod && podLabels(pod, context.clusterName);
}

/**
 * The Pod object of an attachment, when all is known that its labels are made of. Where objects may be late, one of the
 * same name but of another uid is the pod before this one, and a namespace that has not come in yet has labels, too.
 */
export function podOf(context: LabelContext, { namespace, podName, podUid }: Attachment): PodRecord | undefined {
  if (podName === '') return undefined;
  if (!context.podsMayBeLate) return context.pods.pod(namespace, podName);
  return context.pods.hasNamespace(namespace) ? context.pods.pod(namespace, podName, podUid) : undefined;
}

/**
 * Divides all labels by relevance. As long as nothing is known of the workload, and when nothing of it is relevant, it
 * stays `reserved:init`, whatever a user adds (S12).
 */
export function divide(
  filter: LabelFilter,
  origin: EndpointLabels['origin'],
  derived: readonly Label[],
  user: readonly Label[],
): EndpointLabels {
  const split = filter.split(canonicalLabels([...derived, ...user]));
  const isInit = origin === 'init' || split.identity.length === 0;
  const identity = isInit ? canonicalLabels([...split.identity, reservedLabel('init')]) : split.identity;
  return { origin, derived: canonicalLabels(derived), user, identity, information: split.information };
}
