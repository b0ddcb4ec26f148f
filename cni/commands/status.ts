import { requireVersion, type NetworkConfig } from '../spec/config.ts';
import { CNI_CODE, CniError } from '../spec/error.ts';
import { cniErrorOf } from './fault.ts';
import type { Runtime } from './runtime.ts';

/**
 * STATUS: whether an ADD would be served now. The runtime asks again by itself, so there is one attempt only.
 *
 * @throws CniError notAvailable. What is enforced stays enforced without an agent: never `notAvailableLimited`.
 */
export async function status(runtime: Runtime, config: NetworkConfig): Promise<void> {
  requireVersion(config, 'STATUS', '1.1.0');
  const agent = runtime.agent(config.socket);
  let health;
  try {
    health = await agent.health(true);
  } catch (error) {
    throw cniErrorOf(error, CNI_CODE.notAvailable);
  }
  if (health.cilium?.state !== 'Failure') return;
  const message = `weir-agent reports a failure: ${health.cilium.msg ?? 'no reason given'}`;
  throw new CniError(CNI_CODE.notAvailable, message, 'see `weir status` and the log of weir-agent');
}
