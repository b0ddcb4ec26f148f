/** Removal of a pod's endpoint: by the agent, or queued for it when there is none. */
import type { Attachment, NetworkConfig } from '../spec/config.ts';
import { isFault } from './fault.ts';
import { untilAgentAnswers } from './retry.ts';
import type { Agent, Runtime } from './runtime.ts';

/** Id of an endpoint in the agent's API, by the container and interface that the runtime names. */
export function attachmentId({ containerId, ifName }: Attachment): string {
  return `cni-attachment-id:${containerId}:${ifName}`;
}

/**
 * Deletes the endpoint; one that does not exist is deleted already. Without an agent the delete is queued, and the agent
 * does it when it starts.
 *
 * The agent reads the queue *after* it has begun to listen. So an agent that starts at this moment either reads the file
 * written here, or is there for the second attempt: nothing falls between.
 *
 * @throws WeirError when the agent refuses, or does not answer before `deadline`; Error when the queue cannot be written.
 */
export async function removeEndpoint(
  runtime: Runtime,
  config: NetworkConfig,
  attachment: Attachment,
  deadline: number,
): Promise<'deleted' | 'queued'> {
  const agent = runtime.agent(config.socket);
  if (await isDeleted(runtime, agent, attachment, deadline)) return 'deleted';
  const file = queueFile(config, agent, attachment);
  const { containerId, ifName } = attachment;
  const entry = { 'container-id': containerId, 'container-interface-name': ifName };
  runtime.writeFile(file, `${JSON.stringify(entry)}\n`);
  if (!(await isDeleted(runtime, agent, attachment, deadline))) return 'queued';
  runtime.removeFile(file);
  return 'deleted';
}

/** Takes back a delete that waits for an agent: the runtime wants the attachment after all. */
export function unqueueRemoval(runtime: Runtime, config: NetworkConfig, attachment: Attachment): void {
  runtime.removeFile(queueFile(config, runtime.agent(config.socket), attachment));
}

/** False when no agent is there to delete. */
async function isDeleted(runtime: Runtime, agent: Agent, attachment: Attachment, deadline: number): Promise<boolean> {
  try {
    await untilAgentAnswers(
      runtime,
      deadline,
      (leftMs) => agent.deleteEndpoint(attachmentId(attachment), leftMs),
      (thrown) => isFault(thrown, 'AGENT_STARTING', 'AGENT_LOST'),
    );
    return true;
  } catch (error) {
    if (isFault(error, 'ENDPOINT_NOT_FOUND')) return true;
    if (isFault(error, 'AGENT_UNREACHABLE')) return false;
    throw error;
  }
}

/** Longest part of a file's name that is taken from the attachment; the file system allows 255 bytes in all. */
const MAX_NAME = 160;

function queueFile(config: NetworkConfig, agent: Agent, { containerId, ifName }: Attachment): string {
  const folder = config.deleteQueue ?? `${agent.socket.replace(/\/[^/]*$/, '')}/deleteQueue`;
  const id = `${containerId}_${ifName}`;
  const name = id.slice(0, MAX_NAME).replace(/[^a-zA-Z0-9_.-]/g, '_');
  // What was shortened or replaced could be the name of another attachment: its hash tells them apart.
  return `${folder}/${name === id ? name : `${name}-${hash(id)}`}.json`;
}

/** FNV-1a of 32 bits, in hexadecimal. */
function hash(text: string): string {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193) >>> 0;
  return h.toString(16);
}
