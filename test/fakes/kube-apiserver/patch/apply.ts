/** Server-side apply. */
import { applyMergePatch } from './merge-patch.ts';
import type { KubeObject } from '../object.ts';
import type { ResourceType } from '../resource-type.ts';
import type { WriteOptions } from '../rest.ts';

export interface ApplyOptions extends WriteOptions {
  readonly name: string;
  readonly force: boolean;
}

/** The object with the manager's configuration applied. */
export function applied(
  _type: ResourceType,
  old: KubeObject | undefined,
  config: unknown,
  _options: ApplyOptions,
): unknown {
  return applyMergePatch(old ?? {}, config);
}
