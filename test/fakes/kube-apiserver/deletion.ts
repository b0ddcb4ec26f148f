/** DELETE: at once, gracefully, or when the last finalizer is gone. */
import { textAt, timestamp, valueAt, type Json, type KubeObject } from './object.ts';
import type { ResourceType } from './resource-type.ts';
import type { Rest } from './rest.ts';
import { conflict, success } from './status.ts';

export interface DeleteOptions {
  readonly dryRun: boolean;
  readonly gracePeriodSeconds?: number;
  readonly propagationPolicy?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
}

/** Reads the body and the query of a DELETE, of which the body wins. */
export function readDeleteOptions(body: unknown, query: URLSearchParams): DeleteOptions {
  const grace = valueAt(body, ['gracePeriodSeconds']) ?? query.get('gracePeriodSeconds') ?? undefined;
  const policy = textAt(body, 'propagationPolicy') || query.get('propagationPolicy') || undefined;
  const uid = textAt(body, 'preconditions', 'uid');
  const resourceVersion = textAt(body, 'preconditions', 'resourceVersion');
  const orphan = valueAt(body, ['orphanDependents']) === true;
  return {
    dryRun: query.get('dryRun') === 'All' || JSON.stringify(valueAt(body, ['dryRun']) ?? '') === '["All"]',
    ...(grace !== undefined && { gracePeriodSeconds: Number(grace) }),
    ...((policy !== undefined || orphan) && { propagationPolicy: orphan ? 'Orphan' : policy! }),
    ...(uid !== '' && { uid }),
    ...(resourceVersion !== '' && { resourceVersion }),
  };
}

/** Deletes an object, or marks it; answers as the server does. */
export function deleteObject(rest: Rest, type: ResourceType, object: KubeObject, options: DeleteOptions): Json {
  const { metadata } = object;
  if (options.uid !== undefined && options.uid !== metadata.uid)
    throw conflict(
      type,
      metadata.name,
      `Precondition failed: UID in precondition: ${options.uid}, UID in object meta: ${metadata.uid}`,
    );
  if (options.resourceVersion !== undefined && options.resourceVersion !== metadata.resourceVersion)
    throw conflict(
      type,
      metadata.name,
      `Precondition failed: ResourceVersion in precondition: ${options.resourceVersion}, ResourceVersion in object meta: ${metadata.resourceVersion}`,
    );
  const finalizers = new Set(metadata.finalizers ?? []);
  if (options.propagationPolicy === 'Foreground') finalizers.add('foregroundDeletion');
  if (options.propagationPolicy === 'Orphan') finalizers.add('orphan');
  const grace = graceOf(type, object, options);
  const keep = grace > 0 || finalizers.size > 0 || (type.group === '' && type.plural === 'namespaces');
  if (!keep) {
    const removed = options.dryRun ? object : rest.remove(type, object);
    return type.answersDeleted
      ? removed
      : success({ name: metadata.name, group: type.group, kind: type.plural, uid: metadata.uid });
  }
  const marked = mark(type, object, grace, [...finalizers]);
  return options.dryRun ? marked : rest.put(type, marked);
}

/** Only pods that a node runs are stopped gracefully: nobody else would end the wait. */
function graceOf(type: ResourceType, object: KubeObject, options: DeleteOptions): number {
  if (type.group !== '' || type.plural !== 'pods') return 0;
  const bound = textAt(object, 'spec', 'nodeName') !== '';
  const ended = ['Succeeded', 'Failed'].includes(textAt(object, 'status', 'phase'));
  if (!bound || ended) return 0;
  const usual = valueAt(object, ['spec', 'terminationGracePeriodSeconds']);
  const grace = options.gracePeriodSeconds ?? (typeof usual === 'number' ? usual : 30);
  const already = object.metadata.deletionGracePeriodSeconds;
  return already === undefined ? grace : Math.min(already, grace);
}

function mark(type: ResourceType, object: KubeObject, grace: number, finalizers: string[]): KubeObject {
  const { deletionTimestamp, deletionGracePeriodSeconds } = object.metadata;
  const metadata = { ...object.metadata };
  if (deletionTimestamp === undefined || grace < (deletionGracePeriodSeconds ?? 0)) {
    metadata.deletionTimestamp = timestamp(Date.now() + grace * 1000);
    metadata.deletionGracePeriodSeconds = grace;
    if (type.generation && metadata.generation !== undefined) metadata.generation++;
  }
  if (finalizers.length > 0) metadata.finalizers = finalizers;
  const marked = { ...object, metadata };
  if (type.group !== '' || type.plural !== 'namespaces') return marked;
  return { ...marked, status: { ...(object['status'] as object | undefined), phase: 'Terminating' } };
}
