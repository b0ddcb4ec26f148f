import { requireVersion, validAttachments, type NetworkConfig } from '../spec/config.ts';
import { CniError } from '../spec/error.ts';
import { cniErrorOf, isFault } from './fault.ts';
import { attachmentId } from './remove.ts';
import { untilAgentAnswers } from './retry.ts';
import type { Runtime } from './runtime.ts';

/**
 * GC: deletes the endpoints of containers that the runtime no longer knows. Endpoints without an attachment (the host's
 * own) are not the runtime's to collect. One endpoint that cannot be deleted does not keep the others.
 */
export async function gc(runtime: Runtime, config: NetworkConfig): Promise<void> {
  requireVersion(config, 'GC', '1.1.0');
  const valid = new Set(validAttachments(config).map(attachmentId));
  const agent = runtime.agent(config.socket);
  const deadline = runtime.now() + config.timeoutMs;
  const endpoints = await untilAgentAnswers(runtime, deadline, () => agent.endpoints());
  const failures: CniError[] = [];
  for (const { status } of endpoints) {
    const attachment = status?.['external-identifiers']?.['cni-attachment-id'] ?? '';
    const id = `cni-attachment-id:${attachment}`;
    if (attachment === '' || valid.has(id)) continue;
    try {
      await untilAgentAnswers(runtime, deadline, (leftMs) => agent.deleteEndpoint(id, leftMs));
    } catch (error) {
      if (!isFault(error, 'ENDPOINT_NOT_FOUND')) failures.push(cniErrorOf(error));
    }
  }
  const [first, ...rest] = failures;
  if (first === undefined) return;
  if (rest.length === 0) throw first;
  const others = rest.map(({ message }) => message).join('; ');
  throw new CniError(
    first.code,
    `${failures.length} endpoints could not be deleted: ${first.message}; ${others}`,
    first.details,
  );
}
