import type { EndpointLink } from '../model/datapath.ts';
import { HOST_ENDPOINT_ID } from '../model/endpoint.ts';
import { canonicalLabels, type Label } from '../model/labels.ts';
import { reservedLabel } from '../identity/reserved.ts';
import { Endpoint, type EndpointLabels } from './endpoint.ts';
import type { EndpointEnvironment } from './environment.ts';

/**
 * The node itself as an endpoint, so that policies of nodes are enforced as those of pods are. It has no namespace, no
 * address of its own to give back and no record: it is there as long as the agent runs with it.
 *
 * @param link the node's own device, by which pods know it
 */
export function hostEndpoint(environment: EndpointEnvironment, link: EndpointLink, labels: readonly Label[]): Endpoint {
  const endpoint = new Endpoint({
    id: HOST_ENDPOINT_ID,
    attachment: { containerId: '', containerIfName: '', netns: '', namespace: '', podName: '' },
    addressing: {},
    mtu: environment.mtu,
    labels: hostLabels(labels),
    state: 'waiting-for-identity',
    clock: environment.clock,
  });
  endpoint.link = link;
  endpoint.options = { auditMode: environment.auditMode };
  return endpoint;
}

/** Labels of the node as policies see it: `reserved:host` and all that its Node object has. */
export function hostLabels(labels: readonly Label[]): EndpointLabels {
  const all = canonicalLabels([reservedLabel('host'), ...labels]);
  return { origin: 'node', derived: all, user: [], identity: all, information: [] };
}
