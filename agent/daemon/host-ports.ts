import type { Endpoint } from '../endpoint/endpoint.ts';
import type { EndpointAnnouncer } from '../endpoint/environment.ts';
import type { PodDirectory } from '../endpoint/pod-directory.ts';
import type { ServiceSync } from './service-sync.ts';

export interface HostPortsOptions {
  readonly pods: Pick<PodDirectory, 'pod'>;
  readonly endpoints: { list(): readonly Endpoint[] };
  readonly services: Pick<ServiceSync, 'setPod'>;
  /** Is told as well; absent where there is nobody else. */
  readonly next?: EndpointAnnouncer | undefined;
}

/** Ports of the node that pods of it want for their own, while they have an endpoint here. */
export class HostPorts implements EndpointAnnouncer {
  readonly #options: HostPortsOptions;
  /** Pods that have some, by `namespace/name`. */
  readonly #served = new Set<string>();

  constructor(options: HostPortsOptions) {
    this.#options = options;
  }

  /** What the Pod object says may have changed. Endpoints of an earlier life of the agent count, before they are enforced anew. */
  podChanged(namespace: string, name: string, leaving?: Endpoint): void {
    const { pods, endpoints, services } = this.#options;
    const key = `${namespace}/${name}`;
    if (!this.#served.has(key) && !pods.pod(namespace, name)?.hostPorts?.length) return;
    const endpoint = endpoints.list().find(({ attachment, isLeaving, id }) => {
      return attachment.namespace === namespace && attachment.podName === name && !isLeaving && id !== leaving?.id;
    });
    const pod = endpoint && pods.pod(namespace, name, endpoint.attachment.podUid);
    const hostPorts = pod?.hostPorts ?? [];
    if (hostPorts.length > 0) this.#served.add(key);
    else if (!this.#served.delete(key)) return;
    const addresses = endpoint?.addresses ?? [];
    services.setPod(namespace, name, hostPorts.length > 0 ? { addresses, hostPorts } : undefined);
  }

  setEndpoint(endpoint: Endpoint): void {
    this.#changed(endpoint);
    this.#options.next?.setEndpoint(endpoint);
  }

  removeEndpoint(endpoint: Endpoint): void {
    this.#changed(endpoint, endpoint);
    this.#options.next?.removeEndpoint(endpoint);
  }

  #changed({ attachment: { namespace, podName } }: Endpoint, leaving?: Endpoint): void {
    if (podName !== '') this.podChanged(namespace, podName, leaving);
  }
}
