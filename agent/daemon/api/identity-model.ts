import { createHash } from 'node:crypto';
import type * as models from '../../api/models.ts';
import type { Identity } from '../../model/identity.ts';
import { formatLabel, labelSetKey, type Label } from '../../model/labels.ts';

/** An identity as the API shows it. */
export function identityModel({ id, labels }: Identity): models.Identity {
  const labelsSHA256 = createHash('sha256').update(labelSetKey(labels)).digest('hex');
  return { id, labels: labels.map(formatLabel), labelsSHA256 };
}

/** Whether `labels` hold every label of `wanted`; without a source, of any source. */
export function hasLabels(labels: readonly Label[], wanted: readonly string[]): boolean {
  const texts = new Set(
    labels.flatMap((label) => [formatLabel(label), formatLabel(label).slice(label.source.length + 1)]),
  );
  return wanted.every((text) => texts.has(text.startsWith('any:') ? text.slice(4) : text));
}
