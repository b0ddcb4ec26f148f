import { errorText } from '../model/errors.ts';
import type { Endpoint } from './endpoint.ts';
import { forgetSubject, unpublish } from './enforce.ts';
import type { EndpointEnvironment } from './environment.ts';

/**
 * Takes an endpoint away. Every part is tried, whatever happens to the others. Its addresses and its record are given up
 * only when the kernel has nothing of it any more: until then nobody else may get them, and a later removal, or a
 * restart, finishes the work.
 *
 * @throws the first fault; the endpoint then stays `disconnecting`.
 */
export async function removeEndpoint(environment: EndpointEnvironment, endpoint: Endpoint): Promise<void> {
  endpoint.become('disconnecting', 'removal requested');
  unpublish(environment, endpoint);
  const { link } = endpoint;
  const outcomes = await Promise.allSettled([
    endpoint.exclusively(() => environment.datapath.remove(endpoint.id, endpoint.addresses)),
    link === undefined ? undefined : environment.datapath.deleteLink(link.hostIfName),
  ]);
  for (const outcome of outcomes) {
    if (outcome.status === 'fulfilled') continue;
    endpoint.note(errorText(outcome.reason), 'failed');
    throw outcome.reason;
  }
  forgetSubject(environment, endpoint);
  for (const address of endpoint.addresses) environment.ipam.release(address);
  await environment.store.remove(endpoint.id);
  endpoint.become('disconnected', 'removed');
}
