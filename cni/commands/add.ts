import type { Endpoint, EndpointChangeRequest } from '../../agent/api/models.ts';
import { parsePodArgs, podLabels, requestedBandwidth, requestedIps, requestedMtu } from '../spec/args.ts';
import { refuseUnsupported, type Attachment, type NetworkConfig } from '../spec/config.ts';
import { sandboxOf, type Environment } from '../spec/environment.ts';
import { CNI_CODE, CniError } from '../spec/error.ts';
import { objectField } from '../spec/fields.ts';
import { decodeDns, encodeResult } from '../spec/result.ts';
import { resultOf } from './answer.ts';
import { cniErrorOf, isFault } from './fault.ts';
import { attachmentId, removeEndpoint, unqueueRemoval } from './remove.ts';
import { untilAgentAnswers } from './retry.ts';
import type { Runtime } from './runtime.ts';

/** How long the clean-up after a failed ADD may take on top of the ADD's own time. */
const UNDO_MS = 10_000;

/**
 * ADD: asks the agent for an endpoint, and answers when its policy is enforced. The agent creates the link. From the first
 * request that may have reached it until the result is written, any failure removes the endpoint again.
 */
export async function add(runtime: Runtime, config: NetworkConfig): Promise<void> {
  const sandbox = sandboxOf(runtime.env);
  refuseUnsupported(config);
  const dns = decodeDns(objectField(config.fields, 'dns'));
  const request = changeRequest(runtime.env, config, sandbox);
  const deadline = runtime.now() + config.timeoutMs;

  unqueueRemoval(runtime, config, sandbox);
  const undo = new Undo(runtime, config, sandbox);
  try {
    const endpoint = await putEndpoint(runtime, config, sandbox, request, deadline, undo);
    const result = encodeResult(resultOf(endpoint, sandbox, dns), config.cniVersion);
    if (runtime.isTerminated()) throw interrupted();
    runtime.write(`${result}\n`);
  } catch (error) {
    throw await undo.after(error);
  }
}

function changeRequest(
  env: Environment,
  config: NetworkConfig,
  { containerId, ifName, netns }: Attachment & { readonly netns: string },
): EndpointChangeRequest {
  const pod = parsePodArgs(env['CNI_ARGS']);
  const labels = podLabels(config);
  const addressing = requestedIps(config);
  const mtu = requestedMtu(config);
  const bandwidth = requestedBandwidth(config);
  return {
    'container-id': containerId,
    'container-interface-name': ifName,
    'network-namespace-path': netns,
    ...(pod.name !== undefined && { 'k8s-pod-name': pod.name }),
    ...(pod.namespace !== undefined && { 'k8s-namespace': pod.namespace }),
    ...(pod.uid !== undefined && { 'k8s-uid': pod.uid }),
    ...(labels.length > 0 && { labels }),
    ...(Object.keys(addressing).length > 0 && { addressing }),
    ...(mtu !== undefined && { mtu }),
    ...(Object.keys(bandwidth).length > 0 && { bandwidth }),
    'sync-build-endpoint': true,
  };
}

async function putEndpoint(
  runtime: Runtime,
  config: NetworkConfig,
  attachment: Attachment,
  request: EndpointChangeRequest,
  deadline: number,
  undo: Undo,
): Promise<Endpoint> {
  const agent = runtime.agent(config.socket);
  return untilAgentAnswers(runtime, deadline, async (leftMs) => {
    try {
      const endpoint = await agent.putEndpoint(attachmentId(attachment), request, leftMs);
      undo.isNeeded = true;
      return endpoint;
    } catch (error) {
      // Whatever else went wrong, an agent that was never reached has nothing to undo.
      if (!isFault(error, 'AGENT_UNREACHABLE', 'AGENT_STARTING')) undo.isNeeded = true;
      throw error;
    }
  });
}

/** Takes an ADD back that failed after the agent may have begun to act on it. */
class Undo {
  isNeeded = false;
  readonly #runtime: Runtime;
  readonly #config: NetworkConfig;
  readonly #attachment: Attachment;

  constructor(runtime: Runtime, config: NetworkConfig, attachment: Attachment) {
    this.#runtime = runtime;
    this.#config = config;
    this.#attachment = attachment;
  }

  /** Undoes if need be, and returns the error to tell: `error`, with what went wrong with the undoing. */
  async after(error: unknown): Promise<CniError> {
    const told = cniErrorOf(error);
    if (!this.isNeeded) return told;
    try {
      await removeEndpoint(this.#runtime, this.#config, this.#attachment, this.#runtime.now() + UNDO_MS);
      return told;
    } catch (undoError) {
      const second = cniErrorOf(undoError);
      const details = `${told.details}; removing the endpoint again failed too: ${second.message} (${second.details})`;
      return new CniError(told.code, told.message, details, error);
    }
  }
}

function interrupted(): CniError {
  const advice = 'the endpoint is removed again; run ADD once more';
  return new CniError(CNI_CODE.tryAgainLater, 'weir-cni was asked to end while it waited for weir-agent', advice);
}
