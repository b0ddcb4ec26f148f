import type { IdentityRegistry } from '../identity/registry.ts';
import { decodeCiliumEndpoint, decodeCiliumEndpointSlice } from '../k8s/cilium-endpoint.ts';
import { decodeCiliumIdentity, identityMarks } from '../k8s/cilium-identity.ts';
import { decodeCiliumNode } from '../k8s/cilium-node.ts';
import type { EndpointSlice } from '../k8s/endpoint-slice.ts';
import { decodeNode } from '../k8s/node.ts';
import { identityId, type IdentityId } from '../model/identity.ts';
import { resourceName, type Resource } from '../model/resource.ts';
import type { ApiServers } from '../nodes/api-servers.ts';
import type { NodeTable } from '../nodes/node-table.ts';
import type { RemoteEndpoints } from '../nodes/remote-endpoints.ts';
import type { Announcers } from './announcers.ts';
import type { IdentityKeeper } from './identity-keeper.ts';

/** What of the cluster beyond this node the agent keeps. */
export interface ClusterRooms {
  readonly nodes: NodeTable;
  readonly endpoints: RemoteEndpoints;
  readonly identities: Pick<IdentityRegistry, 'learn' | 'forget'>;
  readonly apiServers: ApiServers;
  /** Absent where the numbers are this node's own. */
  readonly keeper?: Pick<IdentityKeeper, 'observe' | 'check'>;
  /** Labels of this node's own object; none when there is no such object. */
  readonly setOwnLabels: (labels: ReadonlyMap<string, string>) => void;
  /** Absent where nobody is told of this node. */
  readonly announcer?: Pick<Announcers, 'nodeLost' | 'observe' | 'observeSlice' | 'setNodeObject'>;
}

/** The service by which a cluster's own API is reached. */
const API_SERVICE = { namespace: 'default', name: 'kubernetes' } as const;

/** Hands what other agents announce to the rooms that want it. */
export class ClusterFeed {
  readonly #rooms: ClusterRooms;
  /** Whether this node has a Node object. */
  #belongs = false;

  constructor(rooms: ClusterRooms) {
    this.#rooms = rooms;
  }

  /** Objects of other kinds are left alone. @throws WeirError RESOURCE_INVALID */
  take(resource: Resource, deleted: boolean): void {
    const { nodes, endpoints } = this.#rooms;
    const { kind, name } = resource;
    const owner = resourceName(resource);
    if (kind === 'Node') this.#takeNode(resource, deleted);
    else if (kind === 'CiliumNode') {
      nodes.set('custom-resource', name, deleted ? undefined : decodeCiliumNode(resource));
      // Of a node that is to leave the cluster nothing is told again: whoever cleans up after it would do so without end.
      if (deleted && name === nodes.self && this.#belongs) this.#rooms.announcer?.nodeLost();
    } else if (kind === 'CiliumIdentity') {
      this.#identity(identityId(Number(name)), deleted ? undefined : resource);
    } else if (kind === 'CiliumEndpoint') {
      const endpoint = deleted ? undefined : decodeCiliumEndpoint(resource);
      endpoints.set(owner, endpoint === undefined ? [] : [endpoint]);
      const uid = deleted ? undefined : resource.uid;
      this.#rooms.announcer?.observe(resource.namespace, name, uid, endpoint?.nodeAddress);
    } else if (kind === 'CiliumEndpointSlice') {
      const sliced = deleted ? [] : decodeCiliumEndpointSlice(resource);
      endpoints.set(owner, sliced);
      this.#rooms.announcer?.observeSlice(name, sliced);
    }
  }

  #identity(id: IdentityId, resource: Resource | undefined): void {
    const { identities, keeper } = this.#rooms;
    const marks = resource === undefined ? undefined : identityMarks(resource);
    // One that the nodes have not settled on may yet go to nobody.
    if (resource !== undefined && marks?.settled === true) identities.learn(decodeCiliumIdentity(resource));
    else identities.forget(id);
    keeper?.observe(id, marks?.unused === true);
    if (resource === undefined) keeper?.check();
  }

  #takeNode(resource: Resource, deleted: boolean): void {
    const { nodes, setOwnLabels, announcer } = this.#rooms;
    const node = deleted ? undefined : decodeNode(resource);
    nodes.set('kubernetes', resource.name, node);
    if (resource.name !== nodes.self) return;
    this.#belongs = node !== undefined;
    setOwnLabels(node?.labels ?? new Map());
    if (node !== undefined) announcer?.setNodeObject(resource.uid, node);
  }

  /** @param slice undefined when it is gone */
  takeSlice(resource: Resource, slice: EndpointSlice | undefined): void {
    if (resource.namespace !== API_SERVICE.namespace) return;
    const serves = slice?.service === API_SERVICE.name;
    const addresses = serves ? slice.endpoints.flatMap((endpoint) => endpoint.addresses) : [];
    this.#rooms.apiServers.set(resourceName(resource), addresses);
  }
}
