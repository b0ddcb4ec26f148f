/** What this node tells the cluster: its endpoints and itself, as CiliumEndpoint and CiliumNode objects. */
import type { Endpoint } from '../endpoint/endpoint.ts';
import { addressPair } from './api/endpoint-model.ts';
import type { PodDirectory } from '../endpoint/pod-directory.ts';
import type { ApiServer } from '../k8s/apiserver/client.ts';
import { metaOf, recordOf, textOf } from '../k8s/apiserver/objects.ts';
import { ObjectTarget, wantedObjectType, type ObjectKey, type WantedObject } from '../k8s/apiserver/object-target.ts';
import type { WriteLimiter } from '../k8s/apiserver/write-limiter.ts';
import { formatAddress, formatCidr, type Address, type Cidr } from '../model/address.ts';
import type { Clock } from '../model/clock.ts';
import { formatLabel } from '../model/labels.ts';
import { protocolName } from '../model/port.ts';
import { Reconciler } from '../reconcile/reconciler.ts';
import { NetworkCondition } from './network-condition.ts';
import type { OwnNode } from './own-node.ts';
import { OwnSlices, type SlicedEndpoint } from './own-slices.ts';

export interface AnnouncerOptions {
  readonly server: ApiServer;
  readonly limiter: WriteLimiter;
  readonly clock: Clock;
  readonly own: OwnNode;
  readonly pods: PodDirectory;
  /** Prefixes of the pods here; undefined where the operator says which they are. */
  readonly podCidrs: readonly Cidr[] | undefined;
  readonly onError: (message: string, error: unknown) => void;
}

/** Changes that follow one another within this time are one, in milliseconds. */
const COALESCE_MS = 20;

export class Announcer {
  readonly #options: AnnouncerOptions;
  readonly #target: ObjectTarget;
  readonly #reconciler: Reconciler<WantedObject, ObjectKey>;
  readonly #network: NetworkCondition;
  /** What is to be announced, by the name of the pod. */
  readonly #endpoints = new Map<string, Endpoint>();
  /** How often somebody else has deleted what stands here, by name. */
  readonly #attempts = new Map<string, number>();
  /** Endpoints that the cluster takes for this node's, by name: their uids. */
  readonly #found = new Map<string, { readonly key: ObjectKey; readonly uid: string }>();
  /** The same where endpoints come in slices. */
  readonly #slices = new OwnSlices();
  /** How often somebody else has deleted what stands of this node. */
  #nodeAttempt = 0;
  #begun = false;

  constructor(options: AnnouncerOptions) {
    const { server, limiter, clock, own, onError } = options;
    this.#options = options;
    this.#network = new NetworkCondition({ server, clock, nodeName: own.name, onError });
    this.#target = new ObjectTarget(server, limiter);
    this.#reconciler = new Reconciler<WantedObject, ObjectKey>({
      ...{ target: this.#target, type: wantedObjectType, clock, random: Math.random, coalesceMs: COALESCE_MS },
      onFailure: (key, { attempts, error }) => {
        if (attempts === 1) onError(`${wantedObjectType.keyText(key)} cannot be written, trying again`, error);
      },
    });
  }

  /** Everything that existed at the start is known: says all, and takes back what an earlier run said of who is gone. */
  begin(): void {
    this.#begun = true;
    this.#tellNode();
    for (const endpoint of this.#endpoints.values()) this.#tell(endpoint);
    for (const { key, uid } of this.#found.values()) this.#takeBack(key, () => this.#target.deleteForeign(key, uid));
    for (const key of this.#slices.keys()) this.#takeBack(key, () => this.#deleteSliced(key));
  }

  async close(): Promise<void> {
    await Promise.all([this.#reconciler.close(), this.#network.close()]);
  }

  counts(): { readonly done: number; readonly pending: number; readonly failed: number } {
    return this.#reconciler.counts();
  }

  /** What is known of this node has changed. */
  nodeChanged(): void {
    if (!this.#begun) return;
    this.#tellNode();
    // Endpoints say where they are.
    for (const endpoint of this.#endpoints.values()) this.#tell(endpoint);
  }

  /** Somebody has deleted this node's CiliumNode. */
  nodeLost(): void {
    this.#nodeAttempt++;
    if (this.#begun) this.#tellNode();
  }

  /** An endpoint is enforced as it is now. */
  setEndpoint(endpoint: Endpoint): void {
    const { podName } = endpoint;
    if (podName === undefined) return;
    this.#endpoints.set(podName, endpoint);
    if (this.#begun) this.#tell(endpoint);
  }

  /** An endpoint is going away. */
  removeEndpoint(endpoint: Endpoint): void {
    const { podName, attachment } = endpoint;
    if (podName === undefined || this.#endpoints.get(podName) !== endpoint) return;
    this.#endpoints.delete(podName);
    this.#attempts.delete(podName);
    this.#reconciler.delete({ kind: 'CiliumEndpoint', namespace: attachment.namespace, name: attachment.podName });
  }

  /** Something that endpoints say of their pods may have changed. */
  podChanged(namespace: string, name: string): void {
    const endpoint = this.#endpoints.get(`${namespace}/${name}`);
    if (endpoint !== undefined && this.#begun) this.#tell(endpoint);
  }

  /**
   * A CiliumEndpoint was seen at the server.
   *
   * @param uid undefined when it is gone
   * @param nodeAddress of the node that it is said to be on
   */
  observe(namespace: string, name: string, uid: string | undefined, nodeAddress: Address | undefined): void {
    const podName = `${namespace}/${name}`;
    if (uid === undefined) {
      this.#found.delete(podName);
      this.#tellAgain(podName);
    } else if (!this.#begun && nodeAddress !== undefined && this.#options.own.has(nodeAddress)) {
      this.#found.set(podName, { key: { kind: 'CiliumEndpoint', namespace, name }, uid });
    }
  }

  /**
   * A CiliumEndpointSlice was seen at the server.
   *
   * @param endpoints all that it names now; none when it is gone
   */
  observeSlice(slice: string, endpoints: readonly SlicedEndpoint[]): void {
    const addresses = this.#options.own.addresses().map(({ address }) => address);
    for (const { namespace, name } of this.#slices.set(slice, endpoints, addresses))
      this.#tellAgain(`${namespace}/${name}`);
  }

  /** Somebody else has deleted what may stand here. */
  #tellAgain(podName: string): void {
    const endpoint = this.#endpoints.get(podName);
    if (endpoint === undefined || !this.#begun) return;
    this.#attempts.set(podName, (this.#attempts.get(podName) ?? 0) + 1);
    this.#tell(endpoint);
  }

  /** Deletes what an earlier run said, unless it holds again. */
  #takeBack(key: ObjectKey, remove: () => Promise<void>): void {
    if (this.#endpoints.has(`${key.namespace}/${key.name}`)) return;
    remove().catch((error: unknown) => {
      this.#options.onError(`stale ${wantedObjectType.keyText(key)} cannot be deleted`, error);
    });
  }

  /** By now the endpoint may be another node's. */
  async #deleteSliced(key: ObjectKey): Promise<void> {
    const object = await this.#target.read(key);
    const node = textOf(recordOf(recordOf(object?.['status'])['networking'])['node']);
    const isOurs = this.#options.own.addresses().some(({ address }) => formatAddress(address) === node);
    if (object !== undefined && isOurs) await this.#target.deleteForeign(key, metaOf(object).uid);
  }

  #tellNode(): void {
    const { own, podCidrs } = this.#options;
    const { uid = '', node } = own.object ?? {};
    this.#network.tell(uid);
    this.#reconciler.set({
      ...{ kind: 'CiliumNode', namespace: '', name: own.name },
      labels: Object.fromEntries(node?.labels ?? []),
      ...(uid !== '' && { owner: { apiVersion: 'v1', kind: 'Node', name: own.name, uid } }),
      spec: {
        addresses: own.addresses().map(({ type, address }) => ({ type, ip: formatAddress(address) })),
        // Empty texts take back what an agent before this one said.
        health: { ipv4: '', ipv6: '', ...addressPair(own.health()) },
        ...(podCidrs !== undefined && { ipam: { podCIDRs: podCidrs.map(formatCidr) } }),
      },
      ...(this.#nodeAttempt > 0 && { attempt: this.#nodeAttempt }),
    });
  }

  #tell(endpoint: Endpoint): void {
    const { pods } = this.#options;
    const { namespace, podName: name, podUid } = endpoint.attachment;
    const pod = pods.pod(namespace, name, podUid);
    // Without its pod nobody would take it away when this node dies.
    const uid = pod?.uids?.[0];
    if (uid === undefined || endpoint.identity === undefined) return;
    const attempt = this.#attempts.get(`${namespace}/${name}`);
    this.#reconciler.set({
      ...{ kind: 'CiliumEndpoint', namespace, name },
      owner: { apiVersion: 'v1', kind: 'Pod', name, uid },
      status: {
        ...endpointStatus(endpoint, this.#options.own.address()),
        ...(pod !== undefined && pod.namedPorts.length > 0 && { 'named-ports': pod.namedPorts.map(portModel) }),
        ...(pod !== undefined && pod.serviceAccount !== '' && { 'service-account': pod.serviceAccount }),
      },
      ...(attempt !== undefined && { attempt }),
    });
  }
}

function endpointStatus(endpoint: Endpoint, node: Address | undefined): Record<string, unknown> {
  const { id, identity, attachment, addressing, policy } = endpoint;
  return {
    id,
    'external-identifiers': {
      'container-id': attachment.containerId,
      'cni-attachment-id': endpoint.key,
      'k8s-namespace': attachment.namespace,
      'k8s-pod-name': attachment.podName,
      'pod-name': `${attachment.namespace}/${attachment.podName}`,
    },
    identity: { id: identity!.id, labels: identity!.labels.map(formatLabel) },
    networking: {
      addressing: [
        {
          ...(addressing.ipv4 && { ipv4: formatAddress(addressing.ipv4) }),
          ...(addressing.ipv6 && { ipv6: formatAddress(addressing.ipv6) }),
        },
      ],
      ...(node !== undefined && { node: formatAddress(node) }),
    },
    encryption: {},
    policy: {
      ingress: directionStatus(policy?.enforced.ingress === true),
      egress: directionStatus(policy?.enforced.egress === true),
    },
    state: 'ready',
  };
}

/** `state` is what `kubectl get cep -o wide` shows. */
const directionStatus = (enforcing: boolean) => ({ enforcing, state: enforcing ? 'enforcing' : 'non-enforcing' });

const portModel = (port: { readonly name: string; readonly port: number; readonly protocol: number }) => ({
  ...{ name: port.name, port: port.port, protocol: protocolName(port.protocol) },
});
