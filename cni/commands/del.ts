import type { NetworkConfig } from '../spec/config.ts';
import { attachmentOf } from '../spec/environment.ts';
import { removeEndpoint } from './remove.ts';
import type { Runtime } from './runtime.ts';

/**
 * DEL: needs neither CNI_NETNS nor `prevResult`, since the agent knows what it made. Runtimes send it twice, and after
 * an ADD that failed: an endpoint that is gone is success.
 */
export async function del(runtime: Runtime, config: NetworkConfig): Promise<void> {
  await removeEndpoint(runtime, config, attachmentOf(runtime.env), runtime.now() + config.timeoutMs);
}
