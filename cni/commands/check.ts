import type { Endpoint, EndpointHealth } from '../../agent/api/models.ts';
import { previousResult, requireVersion, type NetworkConfig } from '../spec/config.ts';
import { sandboxOf } from '../spec/environment.ts';
import { CNI_CODE, CniError } from '../spec/error.ts';
import type { Result } from '../spec/result.ts';
import { resultOf } from './answer.ts';
import { attachmentId } from './remove.ts';
import { untilAgentAnswers } from './retry.ts';
import type { Runtime } from './runtime.ts';

/**
 * CHECK: the endpoint exists, is what ADD had answered, and is enforced.
 *
 * @throws CniError unknownContainer, checkFailed, or tryAgainLater while the endpoint is being built.
 */
export async function check(runtime: Runtime, config: NetworkConfig): Promise<void> {
  requireVersion(config, 'CHECK', '0.4.0');
  const sandbox = sandboxOf(runtime.env);
  const before = previousResult(config);
  const id = attachmentId(sandbox);
  const agent = runtime.agent(config.socket);
  const [endpoint, health] = await untilAgentAnswers(runtime, runtime.now() + config.timeoutMs, () =>
    Promise.all([agent.endpoint(id), agent.endpointHealth(id)]),
  );
  compare(before, resultOf(endpoint, sandbox, {}));
  requireHealthy(endpoint, health);
}

/** Only what this plugin answers for is compared: plugins after it may have added to the result. */
function compare(before: Result, now: Result): void {
  for (const link of now.interfaces) {
    const place = (sandbox: string | undefined): string => (sandbox === undefined ? 'on the host' : `in ${sandbox}`);
    const known = before.interfaces.find(({ name, sandbox }) => name === link.name && sandbox === link.sandbox);
    if (known === undefined) throw mismatch(`prevResult lacks interface ${link.name} ${place(link.sandbox)}`);
    if (known.mac !== undefined && known.mac.toLowerCase() !== link.mac?.toLowerCase()) {
      throw mismatch(`interface ${link.name} has MAC ${String(link.mac)}, prevResult says ${known.mac}`);
    }
  }
  for (const ip of now.ips) {
    const known = before.ips.find(({ address }) => bare(address) === bare(ip.address));
    if (known === undefined) throw mismatch(`the pod has address ${ip.address}, which prevResult lacks`);
  }
  const pod = now.interfaces.find(({ sandbox }) => sandbox !== undefined);
  for (const ip of before.ips) {
    const owner = ip.interface === undefined ? undefined : before.interfaces[ip.interface];
    if (owner?.name !== pod?.name || owner?.sandbox !== pod?.sandbox) continue;
    const stands = now.ips.some(({ address }) => bare(address) === bare(ip.address));
    if (!stands) throw mismatch(`prevResult says address ${ip.address}, which the pod no longer has`);
  }
}

const bare = (address: string): string => address.replace(/\/.*$/, '').toLowerCase();

function requireHealthy(endpoint: Endpoint, health: EndpointHealth): void {
  const overall = health.overallHealth ?? 'OK';
  if (overall === 'Bootstrap' || overall === 'Pending') {
    const message = `endpoint ${endpoint.id} is not built yet: its health is ${overall}`;
    throw new CniError(CNI_CODE.tryAgainLater, message, 'try again shortly');
  }
  if (overall === 'Failure' || health.connected === false) {
    const what = health.connected === false ? 'its interface is gone' : `its health is ${overall}`;
    throw new CniError(
      CNI_CODE.checkFailed,
      `endpoint ${endpoint.id} does not work: ${what}`,
      `see \`weir endpoint health ${endpoint.id}\` and \`weir endpoint log ${endpoint.id}\``,
    );
  }
}

function mismatch(what: string): CniError {
  const advice = 'the pod’s interface is not the one that ADD made: restart the pod';
  return new CniError(CNI_CODE.checkFailed, what, advice);
}
