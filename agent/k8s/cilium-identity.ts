import { IDENTITY_SCOPE, identityId, type Identity } from '../model/identity.ts';
import { canonicalLabels, parseLabel } from '../model/labels.ts';
import type { Resource } from '../model/resource.ts';
import { Fields } from './fields.ts';

/** On an object that nobody may use yet (`apiserver/identity-objects.ts`). */
export const UNSETTLED = 'weir.io/unsettled';

/** On an object that is to be collected, with the time since when nobody has used it. */
export const UNUSED_SINCE = 'io.cilium.heartbeat';

/** Whether the nodes have settled on the identity, and whether it is marked as unused. */
export function identityMarks(resource: Resource): { readonly settled: boolean; readonly unused: boolean } {
  const annotations = Fields.of(resource, 'CiliumIdentity').object('metadata').stringMap('annotations');
  return { settled: !annotations.has(UNSETTLED), unused: annotations.has(UNUSED_SINCE) };
}

/**
 * A CiliumIdentity: its name is the number, `security-labels` are the labels.
 *
 * @throws WeirError RESOURCE_INVALID naming the field.
 */
export function decodeCiliumIdentity(resource: Resource): Identity {
  const identity = Fields.of(resource, 'CiliumIdentity');
  const { first, last } = IDENTITY_SCOPE.cluster;
  const id = Number(resource.name);
  if (!/^[1-9]\d*$/.test(resource.name) || id < first || id > last) {
    identity.object('metadata').fail('name', `must be the number of an identity, ${first} to ${last}`);
  }
  if (!identity.has('security-labels')) identity.fail('security-labels', 'is missing');
  const labels = [...identity.stringMap('security-labels')].map(([key, value]) => {
    const label = identity.parsed('security-labels', value === '' ? key : `${key}=${value}`, parseLabel);
    // Nobody becomes the host, or another node, by an object.
    if (label.source === 'reserved' && label.key !== 'init') {
      identity.fail(`security-labels[${JSON.stringify(key)}]`, 'reserved labels are not for workloads');
    }
    return label;
  });
  if (labels.length === 0) identity.fail('security-labels', 'must not be empty');
  return { id: identityId(id), labels: canonicalLabels(labels) };
}
