import { podBandwidth } from '../endpoint/bandwidth.ts';
import type { PodDirectory } from '../endpoint/pod-directory.ts';
import { decodeCidrGroup } from '../k8s/cidr-group.ts';
import { decodeEndpointSlice } from '../k8s/endpoint-slice.ts';
import { decodeNamespace } from '../k8s/namespace.ts';
import { decodePod } from '../k8s/pod.ts';
import { policyCidrGroup } from '../k8s/policy-view.ts';
import { decodeService, isBalanced } from '../k8s/service.ts';
import type { Resource, ResourceEvent, ResourceStatus } from '../model/resource.ts';
import type { ClusterFeed } from './cluster-feed.ts';
import { isPolicyKind, rejection, type PolicyImporter } from './policy-importer.ts';
import { PolicyServices } from './policy-services.ts';
import type { ServiceSync } from './service-sync.ts';

/** Hands each resource to the room that wants it. One that cannot be decoded leaves what was in force. */
export class ResourceFeed {
  readonly #pods: PodDirectory;
  readonly #policies: PolicyImporter;
  readonly #services: PolicyServices;
  readonly #balancer: Pick<ServiceSync, 'setService' | 'setSlice'>;
  readonly #cluster: ClusterFeed;
  readonly #report: (status: ResourceStatus) => void;

  constructor(
    pods: PodDirectory,
    policies: PolicyImporter,
    balancer: Pick<ServiceSync, 'setService' | 'setSlice'>,
    cluster: ClusterFeed,
    report: (status: ResourceStatus) => void,
  ) {
    this.#balancer = balancer;
    this.#cluster = cluster;
    this.#pods = pods;
    this.#policies = policies;
    this.#services = new PolicyServices((...service) => policies.setService(...service));
    this.#report = report;
  }

  handle(event: ResourceEvent): void {
    if (event.type === 'synced') return;
    const { resource } = event;
    try {
      this.#take(resource, event.type === 'delete');
    } catch (error) {
      this.#report(rejection(resource, error));
    }
  }

  #take(resource: Resource, deleted: boolean): void {
    const { kind, namespace, name } = resource;
    if (isPolicyKind(kind)) {
      if (deleted) this.#policies.delete(resource);
      else this.#policies.upsert(resource);
    } else if (kind === 'Pod') {
      this.#pods.setPod(namespace, name, deleted ? undefined : podView(resource));
    } else if (kind === 'Namespace') {
      this.#pods.setNamespace(name, deleted ? undefined : Object.fromEntries(decodeNamespace(resource).labels));
    } else if (kind === 'CiliumCIDRGroup') {
      this.#policies.setCidrGroup(name, deleted ? undefined : policyCidrGroup(decodeCidrGroup(resource)));
    } else if (kind === 'Service') {
      const service = deleted ? undefined : decodeService(resource);
      this.#services.setService(namespace, name, service);
      this.#balancer.setService(namespace, name, service && isBalanced(service) ? service : undefined);
    } else if (kind === 'EndpointSlice') {
      const slice = deleted ? undefined : decodeEndpointSlice(resource);
      this.#services.setSlice(namespace, name, slice);
      this.#balancer.setSlice(namespace, name, slice);
      this.#cluster.takeSlice(resource, slice);
    } else this.#cluster.take(resource, deleted);
  }
}

const CONFIG_HASH = 'kubernetes.io/config.hash';
const CONFIG_MIRROR = 'kubernetes.io/config.mirror';

function podView(resource: Resource): Parameters<PodDirectory['setPod']>[2] {
  const { uid, labels, annotations, serviceAccountName, namedPorts, hostPorts } = decodePod(resource);
  // Runtimes know a static pod by the file that it was made from, not by its object.
  const uids = [uid, annotations.get(CONFIG_HASH) ?? '', annotations.get(CONFIG_MIRROR) ?? ''].filter(Boolean);
  const bandwidth = podBandwidth(annotations);
  const serviceAccount = serviceAccountName;
  return { labels: Object.fromEntries(labels), serviceAccount, namedPorts, hostPorts, uids, bandwidth };
}
