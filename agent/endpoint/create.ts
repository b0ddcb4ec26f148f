import type { Addressing } from '../ipam/ipam.ts';
import { addressesOf } from '../ipam/ipam.ts';
import { formatAddress, type Address } from '../model/address.ts';
import type { BandwidthLimits } from '../model/bandwidth.ts';
import type { EndpointId } from '../model/endpoint.ts';
import { errorText, WeirError } from '../model/errors.ts';
import type { Label } from '../model/labels.ts';
import { applyBandwidth } from './bandwidth.ts';
import { attachmentKey, Endpoint, hostInterfaceName, type Attachment } from './endpoint.ts';
import { healthLabels, initialLabels, podOf } from './endpoint-labels.ts';
import { changeIdentity, forgetSubject, unpublish, type EnforceHooks } from './enforce.ts';
import type { EndpointEnvironment } from './environment.ts';

/** What a runtime asks for. */
export interface CreateRequest {
  readonly attachment: Attachment;
  /** Addresses that the caller chose; the node's next ones when absent. */
  readonly addressing?: Addressing;
  /** Bytes; the node's when absent. */
  readonly mtu?: number;
  /** Limits for what has no Pod object. */
  readonly bandwidth?: BandwidthLimits;
  /** Labels of the request; undefined when it had none. */
  readonly labels?: readonly Label[];
  /** It is the node's health endpoint, which the agent makes for itself. */
  readonly health?: true;
}

/** Where the endpoint stands while it lives. */
export interface EndpointTable {
  add(endpoint: Endpoint): void;
  delete(endpoint: Endpoint): void;
  /** The living endpoint that has the address. */
  byAddress(address: Address): Endpoint | undefined;
}

/**
 * Makes an endpoint: addresses, link, identity, policy, programs. It is enforced when this resolves. When any step
 * fails, the steps before it are undone and nothing is left.
 *
 * @throws WeirError of the step that failed.
 */
export async function createEndpoint(
  environment: EndpointEnvironment,
  table: EndpointTable,
  id: EndpointId,
  request: CreateRequest,
  hooks: EnforceHooks,
): Promise<Endpoint> {
  const { attachment } = request;
  const addresses = claimAddresses(environment, table, request);
  const endpoint = new Endpoint({
    id,
    attachment,
    addressing: addresses.addressing,
    mtu: request.mtu ?? environment.mtu,
    labels: request.health === true ? healthLabels() : initialLabels(environment.labels, attachment, request.labels),
    state: 'waiting-for-identity',
    clock: environment.clock,
  });
  endpoint.options = { auditMode: environment.auditMode };
  await using undo = new AsyncDisposableStack();
  /** A step that cannot be undone is told, and must not keep the others from being undone. */
  const onFailure = (what: string, step: () => void | Promise<void>): void =>
    undo.defer(async () => {
      try {
        await step();
      } catch (error) {
        environment.report(endpoint, `cannot undo: ${what}`, error);
      }
    });
  onFailure('addresses', addresses.release);
  table.add(endpoint);
  onFailure('table', () => table.delete(endpoint));
  try {
    const hostIfName = hostInterfaceName(endpoint.key);
    endpoint.link = await environment.datapath.createLink({
      netns: attachment.netns,
      containerIfName: attachment.containerIfName,
      hostIfName,
      addresses: endpoint.addresses,
      gateways: gatewaysFor(environment, endpoint.addressing),
      mtu: endpoint.mtu,
    });
    onFailure('link', () => environment.datapath.deleteLink(hostIfName));
    onFailure('record', () => environment.store.remove(id));
    onFailure('datapath', () => environment.datapath.remove(id, endpoint.addresses));
    onFailure('identity', () => forgetSubject(environment, endpoint));
    onFailure('ipcache', () => unpublish(environment, endpoint));
    await awaitPod(environment, endpoint, request);
    await applyBandwidth(environment, endpoint, request.bandwidth);
    endpoint.become('waiting-to-regenerate', 'the link stands');
    endpoint.become('regenerating', 'first build');
    await changeIdentity(environment, endpoint, hooks);
    if (endpoint.state === 'regenerating')
      endpoint.become('ready', `enforced as identity ${endpoint.identity?.id ?? 0}`);
  } catch (error) {
    endpoint.become('invalid', errorText(error), 'failed');
    throw error;
  }
  undo.move();
  return endpoint;
}

/** A runtime may be faster than the API server's news of the pod: its labels are waited for, but not for ever. */
async function awaitPod(
  { labels, clock, podWaitMs }: EndpointEnvironment,
  endpoint: Endpoint,
  { attachment, labels: requested }: CreateRequest,
): Promise<void> {
  if (!labels.podsMayBeLate || attachment.podName === '') return;
  const known = (): boolean => podOf(labels, attachment) !== undefined;
  if (!known()) endpoint.note('waiting for the labels of the pod');
  await labels.pods.until(known, clock, podWaitMs);
  endpoint.labels = initialLabels(labels, attachment, requested);
  if (!known()) endpoint.note(`the pod is not known after ${podWaitMs} ms: starts as reserved:init`, 'failed');
}

/**
 * The addresses of a request: those it names, or the next ones. An address that the API gave to somebody who is no
 * endpoint goes over to the endpoint: that is what it was asked for.
 */
function claimAddresses(
  { ipam }: EndpointEnvironment,
  table: EndpointTable,
  { addressing: wanted, attachment }: CreateRequest,
): { readonly addressing: Addressing; readonly release: () => void } {
  const owner = attachment.podName === '' ? attachmentKey(attachment) : `${attachment.namespace}/${attachment.podName}`;
  if (wanted === undefined || addressesOf(wanted).length === 0) {
    const addressing = ipam.allocateNext(owner);
    return { addressing, release: () => addressesOf(addressing).forEach((address) => ipam.release(address)) };
  }
  for (const address of addressesOf(wanted)) {
    const holder = table.byAddress(address);
    if (holder === undefined) continue;
    throw new WeirError('IPAM_IN_USE', `${formatAddress(address)} belongs to ${holder.title}`, { field: 'addressing' });
  }
  const own = addressesOf(wanted).filter((address) => ipam.ownerOf(address) === undefined && ipam.serves(address));
  const release = (): void => own.forEach((address) => ipam.release(address));
  for (const address of own) ipam.allocate(address, owner);
  return { addressing: wanted, release };
}

function gatewaysFor({ ipam }: EndpointEnvironment, { ipv4, ipv6 }: Addressing): Address[] {
  const { routers } = ipam;
  return addressesOf({
    ...(ipv4 && routers.ipv4 && { ipv4: routers.ipv4 }),
    ...(ipv6 && routers.ipv6 && { ipv6: routers.ipv6 }),
  });
}
