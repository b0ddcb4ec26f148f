/** Who owns which field: `metadata.managedFields`. */
import type { KubeObject } from './object.ts';
import type { ResourceType } from './resource-type.ts';
import type { WriteOptions } from './rest.ts';

/** Notes that a manager wrote what differs between two versions, in place. */
export function trackUpdate(
  _type: ResourceType,
  old: KubeObject | undefined,
  object: KubeObject,
  _options: WriteOptions,
): void {
  if (old?.metadata.managedFields !== undefined) object.metadata.managedFields = old.metadata.managedFields;
}
