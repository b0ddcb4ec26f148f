import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { errorText } from '../model/errors.ts';

/** A delete that the CNI plugin left while the agent was away. */
export interface QueuedDelete {
  readonly containerId: string;
  /** Undefined: every interface of the container. */
  readonly containerIfName: string | undefined;
}

/**
 * Works off the deletes in `directory`. A file goes away once its delete is done; one that cannot be done stays for the
 * next start, one that cannot be read is told and removed.
 */
export async function drainDeleteQueue(
  directory: string,
  remove: (queued: QueuedDelete) => Promise<void>,
  onProblem: (file: string, message: string) => void,
): Promise<number> {
  const names = await readdir(directory).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  });
  let done = 0;
  for (const name of names.filter((candidate) => candidate.endsWith('.json')).sort()) {
    const path = join(directory, name);
    const queued = await readQueued(path);
    try {
      if (typeof queued === 'string') onProblem(path, queued);
      else await remove(queued);
      await rm(path, { force: true });
      done++;
    } catch (error) {
      onProblem(path, `cannot be done, and is tried again at the next start: ${errorText(error)}`);
    }
  }
  return done;
}

/** The delete of a file, or what is wrong with it. */
async function readQueued(path: string): Promise<QueuedDelete | string> {
  try {
    const json: unknown = JSON.parse(await readFile(path, 'utf8'));
    const fields = typeof json === 'object' && json !== null ? (json as Record<string, unknown>) : {};
    const containerId = fields['container-id'];
    const containerIfName = fields['container-interface-name'];
    if (typeof containerId !== 'string' || containerId === '') return 'names no container, and was removed';
    return { containerId, containerIfName: typeof containerIfName === 'string' ? containerIfName : undefined };
  } catch (error) {
    return `is no queued delete, and was removed: ${errorText(error)}`;
  }
}
