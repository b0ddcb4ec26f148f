import type * as models from '../../api/models.ts';
import type { EndpointApi } from '../../api/server/contract.ts';
import type { CreateRequest } from '../../endpoint/create.ts';
import { attachmentKey, type Attachment, type Endpoint } from '../../endpoint/endpoint.ts';
import { requestedLabels } from '../../endpoint/endpoint-labels.ts';
import type { EndpointManager } from '../../endpoint/manager.ts';
import type { Addressing, Ipam } from '../../ipam/ipam.ts';
import { parseAddress, type Address } from '../../model/address.ts';
import { limitOf, type BandwidthLimit, type BandwidthLimits } from '../../model/bandwidth.ts';
import { WeirError } from '../../model/errors.ts';
import type { NodeKernel } from '../node-kernel.ts';
import { policyMapUses, type PolicyMapUse } from '../policy-maps.ts';
import { configurationModel, endpointModel, healthModel, labelsModel, logModel } from './endpoint-model.ts';
import { hasLabels } from './identity-model.ts';

const CNI_ID = /^cni-attachment-id:(.+):([^:]+)$/;

/** Endpoints as the API offers them. */
export class EndpointApiAdapter implements EndpointApi {
  readonly #manager: EndpointManager;
  readonly #kernel: NodeKernel;
  readonly #ipam: Ipam;

  constructor(manager: EndpointManager, kernel: NodeKernel, ipam: Ipam) {
    this.#manager = manager;
    this.#kernel = kernel;
    this.#ipam = ipam;
  }

  list(labels: readonly string[]): readonly models.Endpoint[] {
    const all = this.#manager.index.list();
    const uses = policyMapUses(all, this.#kernel);
    return all
      .filter((endpoint) => hasLabels([...endpoint.labels.identity, ...endpoint.labels.information], labels))
      .map((endpoint) => endpointModel(endpoint, this.#ipam, uses.get(endpoint.id)));
  }

  get(id: string): models.Endpoint {
    return this.#model(this.#find(id));
  }

  async put(id: string, request: models.EndpointChangeRequest): Promise<models.Endpoint> {
    const endpoint = await this.#manager.create(createRequest(id, request));
    return this.#model(endpoint);
  }

  async patch(id: string, request: models.EndpointChangeRequest): Promise<void> {
    const endpoint = this.#find(id);
    const { labels, state: _state, 'sync-build-endpoint': _sync, ...rest } = request;
    const fixed = Object.keys(rest).find((name) => !isSame(endpoint, rest, name));
    if (fixed !== undefined) {
      throw new WeirError('ENDPOINT_INVALID', 'cannot be changed while the endpoint lives', {
        object: endpoint.title,
        field: fixed,
        remedy: 'delete the endpoint and create it again',
      });
    }
    if (labels === undefined) await this.#manager.regenerate(endpoint, 'asked for through the API');
    else await this.#manager.setUserLabels(endpoint, requestedLabels(labels, 'labels'));
  }

  async delete(id: string): Promise<void> {
    const [, containerId, containerIfName] = CNI_ID.exec(id) ?? [];
    // A runtime that gives an ADD up deletes while the agent still works on it: what it means is the attachment, not the
    // endpoint that stands there at this moment.
    if (containerId === undefined || containerIfName === undefined) await this.#manager.remove(this.#find(id));
    else if (!(await this.#manager.removeAt(attachmentKey({ containerId, containerIfName })))) this.#find(id);
  }

  async deleteMany(request: models.EndpointBatchDeleteRequest): Promise<void> {
    const container = request['container-id'];
    const concerned = this.#manager.index.list().filter(({ attachment }) => attachment.containerId === container);
    if (concerned.length === 0) {
      throw new WeirError('ENDPOINT_NOT_FOUND', 'the container has no endpoint', {
        object: `container ${container ?? ''}`,
      });
    }
    await Promise.all(concerned.map((endpoint) => this.#manager.remove(endpoint)));
  }

  async health(id: string): Promise<models.EndpointHealth> {
    const endpoint = this.#find(id);
    if (endpoint.link === undefined) return healthModel(endpoint, false, this.#use(endpoint));
    const { hostUp, container, attached } = await this.#kernel.endpoints.linkStatus(
      endpoint.link,
      endpoint.attachment.netns,
    );
    return healthModel(
      endpoint,
      hostUp && attached && (endpoint.isHost || container?.up === true),
      this.#use(endpoint),
    );
  }

  log(id: string): models.EndpointStatusLog {
    return logModel(this.#find(id));
  }

  labels(id: string): models.LabelConfiguration {
    return labelsModel(this.#find(id));
  }

  patchLabels(id: string, spec: models.LabelConfigurationSpec): Promise<void> {
    return this.#manager.setUserLabels(this.#find(id), requestedLabels(spec.user ?? [], 'body.user'));
  }

  config(id: string): models.EndpointConfigurationStatus {
    const endpoint = this.#find(id);
    const { last } = endpoint.log;
    return {
      realized: configurationModel(endpoint),
      immutable: {},
      ...(last?.code === 'failed' && { error: last.message }),
    };
  }

  async patchConfig(id: string, spec: models.EndpointConfigurationSpec): Promise<void> {
    const endpoint = this.#find(id);
    const auditMode = readOptions(spec.options ?? {});
    const user = spec['label-configuration']?.user;
    if (user !== undefined)
      await this.#manager.setUserLabels(endpoint, requestedLabels(user, 'body.label-configuration.user'));
    if (auditMode !== undefined) await this.#manager.setOptions(endpoint, { auditMode });
    if (user === undefined && auditMode === undefined)
      await this.#manager.regenerate(endpoint, 'asked for through the API');
  }

  #model(endpoint: Endpoint): models.Endpoint {
    return endpointModel(endpoint, this.#ipam, this.#use(endpoint));
  }

  #use(endpoint: Endpoint): PolicyMapUse | undefined {
    return policyMapUses([endpoint], this.#kernel).get(endpoint.id);
  }

  #find(id: string): Endpoint {
    return this.#manager.index.find(id);
  }
}

function readOptions(options: models.ConfigurationMap): boolean | undefined {
  let auditMode: boolean | undefined;
  for (const [name, value] of Object.entries(options)) {
    const field = `body.options.${name}`;
    if (name !== 'PolicyAuditMode') {
      throw new WeirError('REQUEST_INVALID', 'there is no such option, or it cannot be changed', {
        field,
        remedy: 'use PolicyAuditMode',
      });
    }
    if (!/^(enabled|disabled|true|false)$/i.test(value)) {
      throw new WeirError('REQUEST_INVALID', `${JSON.stringify(value)} is neither Enabled nor Disabled`, { field });
    }
    auditMode = /^(enabled|true)$/i.test(value);
  }
  return auditMode;
}

/** Whether the request says of a fixed field what it is already. */
function isSame(endpoint: Endpoint, request: models.EndpointChangeRequest, name: string): boolean {
  const { attachment, id, mtu } = endpoint;
  const present: Readonly<Record<string, unknown>> = {
    id,
    mtu,
    'container-id': attachment.containerId,
    'container-interface-name': attachment.containerIfName,
    'container-name': attachment.containerName,
    'k8s-pod-name': attachment.podName,
    'k8s-namespace': attachment.namespace,
    'k8s-uid': attachment.podUid,
    'network-namespace-path': attachment.netns,
  };
  return name in present && present[name] === request[name as keyof models.EndpointChangeRequest];
}

function createRequest(id: string, request: models.EndpointChangeRequest): CreateRequest {
  const labels = request.labels && requestedLabels(request.labels, 'body.labels');
  const addressing = request.addressing && readAddressing(request.addressing);
  const bandwidth = request.bandwidth && readBandwidth(request.bandwidth);
  return {
    attachment: readAttachment(id, request),
    ...(labels && { labels }),
    ...(addressing && { addressing }),
    ...(request.mtu !== undefined && { mtu: request.mtu }),
    ...(bandwidth && { bandwidth }),
  };
}

function readBandwidth({ ingress, egress }: models.BandwidthRequest): BandwidthLimits {
  const read = (limit: models.BandwidthLimitRequest): BandwidthLimit =>
    limitOf(limit['bits-per-second'], limit['burst-bytes']);
  return { ...(ingress && { ingress: read(ingress) }), ...(egress && { egress: read(egress) }) };
}

function readAttachment(id: string, request: models.EndpointChangeRequest): Attachment {
  const invalid = (field: string, message: string): never => {
    throw new WeirError('ENDPOINT_INVALID', message, { field, object: `endpoint ${id}` });
  };
  const named = CNI_ID.exec(id);
  const containerId = request['container-id'] ?? named?.[1] ?? invalid('body.container-id', 'is missing');
  const containerIfName =
    request['container-interface-name'] ?? named?.[2] ?? invalid('body.container-interface-name', 'is missing');
  if (named === null) invalid('id', 'an endpoint is created as cni-attachment-id:<container>:<interface>');
  if (named !== null && (named[1] !== containerId || named[2] !== containerIfName)) {
    invalid('id', 'does not fit container-id and container-interface-name of the request');
  }
  const { 'k8s-namespace': namespace = '', 'k8s-pod-name': podName = '' } = request;
  if (namespace === '' && podName !== '') invalid('body.k8s-namespace', 'is missing beside k8s-pod-name');
  return {
    containerId,
    containerIfName,
    netns: request['network-namespace-path'] ?? invalid('body.network-namespace-path', 'is missing'),
    namespace,
    podName,
    ...(request['container-name'] !== undefined && { containerName: request['container-name'] }),
    ...(request['k8s-uid'] !== undefined && { podUid: request['k8s-uid'] }),
  };
}

function readAddressing({ ipv4, ipv6 }: models.AddressPair): Addressing {
  const read = (text: string, family: 4 | 6): Address => {
    const address = parseAddress(text);
    if (address.family === family) return address;
    throw new WeirError('ADDRESS_INVALID', `${text} is not IPv${family}`, { field: `body.addressing.ipv${family}` });
  };
  return {
    ...(ipv4 !== undefined && ipv4 !== '' && { ipv4: read(ipv4, 4) }),
    ...(ipv6 !== undefined && ipv6 !== '' && { ipv6: read(ipv6, 6) }),
  };
}
