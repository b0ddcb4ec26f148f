import { BANDWIDTH_DIRECTIONS, limitOf, NO_LIMITS, sameLimits } from '../model/bandwidth.ts';
import type { BandwidthLimit, BandwidthLimits } from '../model/bandwidth.ts';
import { WeirError } from '../model/errors.ts';
import { parseQuantity } from '../model/quantity.ts';
import { podOf } from './endpoint-labels.ts';
import type { Endpoint } from './endpoint.ts';
import type { EndpointEnvironment } from './environment.ts';
import type { PodBandwidth } from './pod-directory.ts';

type Direction = (typeof BANDWIDTH_DIRECTIONS)[number];

const ANNOTATIONS = {
  ingress: 'kubernetes.io/ingress-bandwidth',
  egress: 'kubernetes.io/egress-bandwidth',
} as const;

/** As Kubernetes has it: what is outside is a mistake, such as bytes for megabits. */
const [LEAST_BITS, MOST_BITS] = [1e3, 1e15];

const SWITCHED_OFF =
  'the runtime asks for limits of bandwidth, and there are none (start the agent with --enable-bandwidth-manager)';

/** The limits that a pod's annotations ask for. */
export function podBandwidth(annotations: ReadonlyMap<string, string>): PodBandwidth {
  const [ingress, egress] = [annotations.get(ANNOTATIONS.ingress), annotations.get(ANNOTATIONS.egress)];
  return { ...(ingress !== undefined && { ingress }), ...(egress !== undefined && { egress }) };
}

/** @throws WeirError RESOURCE_INVALID naming pod and annotation */
export function parseLimit(text: string, direction: Direction, pod: string): BandwidthLimit {
  const bits = parseQuantity(text);
  if (bits !== undefined && bits >= LEAST_BITS && bits <= MOST_BITS) return limitOf(bits);
  const wrong = bits === undefined ? 'is no quantity' : 'is not between 1k and 1P';
  throw new WeirError('RESOURCE_INVALID', `${JSON.stringify(text)} ${wrong}`, {
    object: `Pod ${pod}`,
    field: `metadata.annotations[${JSON.stringify(ANNOTATIONS[direction])}]`,
    remedy: 'write bits a second as a quantity from 1k to 1P, such as 10M; until then the limit stays as it is',
  });
}

/**
 * Brings the kernel to the limits that the endpoint's Pod object asks for, at once. An annotation that cannot be read is told
 * and changes nothing; without a Pod object limits stay as they are, as labels do.
 *
 * @param requested the limits of who has no Pod object
 * @throws WeirError of the kernel; what was in force then still is.
 */
export function applyBandwidth(
  environment: EndpointEnvironment,
  endpoint: Endpoint,
  requested?: BandwidthLimits,
): Promise<void> {
  return endpoint.exclusively(async () => {
    if (endpoint.isLeaving) return;
    const wanted = wantedLimits(environment, endpoint, requested);
    if (sameLimits(wanted, endpoint.bandwidth)) return;
    await environment.datapath.setBandwidth(endpoint.id, wanted);
    endpoint.bandwidth = wanted;
    endpoint.note('bandwidth limits changed');
  });
}

function wantedLimits(
  environment: EndpointEnvironment,
  endpoint: Endpoint,
  requested: BandwidthLimits | undefined,
): BandwidthLimits {
  if (!environment.bandwidthManager) {
    // Annotations are ignored in silence, but whoever set this up in the runtime counts on it.
    if (requested !== undefined) tellFault(environment, endpoint, SWITCHED_OFF);
    return NO_LIMITS;
  }
  const pod = podOf(environment.labels, endpoint.attachment);
  if (pod === undefined) return requested ?? endpoint.bandwidth;
  const faults: string[] = [];
  const limits = BANDWIDTH_DIRECTIONS.flatMap((direction): [Direction, BandwidthLimit][] => {
    const text = pod.bandwidth?.[direction];
    if (text === undefined) return [];
    try {
      return [[direction, parseLimit(text, direction, endpoint.podName ?? '')]];
    } catch (error) {
      if (!(error instanceof WeirError)) throw error;
      faults.push(error.describe());
      const present = endpoint.bandwidth[direction];
      return present === undefined ? [] : [[direction, present]];
    }
  });
  tellFault(environment, endpoint, faults.join('; '));
  return Object.fromEntries(limits);
}

/** Once, though the pod may change in other ways many times. */
function tellFault(environment: EndpointEnvironment, endpoint: Endpoint, fault: string): void {
  if (fault === endpoint.bandwidthFault) return;
  endpoint.bandwidthFault = fault;
  if (fault === '') return;
  endpoint.note(fault, 'failed');
  environment.report(endpoint, fault);
}
