/**
 * Takes the taint away that keeps pods off a new node until its agent is there. Clusters that were made for Cilium put it on every
 * node that joins. An agent that is ready says so with the addresses in its CiliumNode.
 */
import { PATCH } from '../agent/k8s/apiserver/client.ts';
import { getObject, metaOf, recordOf, recordsOf } from '../agent/k8s/apiserver/objects.ts';
import { Reflector } from '../agent/k8s/apiserver/reflector.ts';
import { errorText } from '../agent/model/errors.ts';
import type { ResourceEvent } from '../agent/model/resource.ts';
import type { Duty, DutyContext } from './duty.ts';
import { WorkQueue } from './work-queue.ts';

const TAINT = 'node.cilium.io/agent-not-ready';

export class NodeTaints implements Duty {
  readonly name = 'node-taints';
  readonly #context: DutyContext;
  readonly #queue: WorkQueue;
  /** CiliumNodes, by name, whose Nodes were looked at: their uids. */
  readonly #seen = new Map<string, string>();

  constructor(context: DutyContext) {
    this.#context = context;
    this.#queue = new WorkQueue(context, this.name, { perSecond: 20, burst: 50 }, (name) => this.#untaint(name));
  }

  async run(signal: AbortSignal): Promise<void> {
    const { server, clock, random, logger } = this.#context;
    this.#seen.clear();
    const reflector = new Reflector({
      ...{ kind: 'CiliumNode', server, clock, random },
      onEvent: (event) => this.#onEvent(event),
      onState: (state) => {
        if (state.phase === 'failing') logger.warn(`CiliumNodes cannot be followed: ${errorText(state.error)}`);
      },
    });
    await Promise.all([this.#queue.run(signal), reflector.run(signal)]);
  }

  #onEvent(event: ResourceEvent): void {
    if (event.type === 'synced') return;
    const { name, uid, object } = event.resource;
    if (event.type === 'delete') this.#seen.delete(name);
    else if (this.#seen.get(name) !== uid && recordsOf(recordOf(object['spec'])['addresses']).length > 0) {
      this.#seen.set(name, uid);
      this.#queue.add(name);
    }
  }

  /** @throws ApiRefusal 409 when the Node has changed meanwhile: the queue looks again */
  async #untaint(name: string): Promise<void> {
    const { server, logger } = this.#context;
    const path = `/api/v1/nodes/${name}`;
    const node = await getObject(server, path);
    if (node === undefined) return;
    const taints = recordsOf(recordOf(node['spec'])['taints']);
    const others = taints.filter(({ key }) => key !== TAINT);
    if (others.length === taints.length) return;
    const body = { metadata: { resourceVersion: metaOf(node).resourceVersion }, spec: { taints: others } };
    await server.request({ method: 'PATCH', path, body, contentType: PATCH.merge });
    logger.info({ node: name }, `its agent is there: taint ${TAINT} taken away`);
  }
}
