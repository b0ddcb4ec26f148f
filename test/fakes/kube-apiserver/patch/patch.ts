/** PATCH: the body's type decides what it does to the object. */
import type { KubeObject } from '../object.ts';
import type { ResourceType } from '../resource-type.ts';
import { unsupportedMediaType } from '../status.ts';
import { applyJsonPatch } from './json-patch.ts';
import { applyMergePatch } from './merge-patch.ts';
import { applyStrategicMergePatch } from './strategic-merge.ts';

export const JSON_PATCH = 'application/json-patch+json';
export const MERGE_PATCH = 'application/merge-patch+json';
export const STRATEGIC_MERGE_PATCH = 'application/strategic-merge-patch+json';
export const APPLY_PATCH = 'application/apply-patch+yaml';

export function patched(type: ResourceType, object: KubeObject, patch: unknown, contentType: string): unknown {
  switch (contentType) {
    case JSON_PATCH:
      return applyJsonPatch(object, patch);
    case MERGE_PATCH:
      return applyMergePatch(object, patch);
    case STRATEGIC_MERGE_PATCH:
      // A custom resource's lists have no merge keys.
      if (!type.custom) return applyStrategicMergePatch(object, patch, type.schema() ?? {});
  }
  const types = type.custom
    ? [JSON_PATCH, MERGE_PATCH, APPLY_PATCH]
    : [JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, APPLY_PATCH];
  throw unsupportedMediaType(contentType, types);
}
