/** Deletes CiliumNodes whose Node is gone. */
import { periodically, type Duty, type DutyContext } from '../duty.ts';
import { deleteVersion, getObject, listAll, metaOf, type ObjectMeta } from '../../agent/k8s/apiserver/objects.ts';

const NODES = '/api/v1/nodes';
const CILIUM_NODES = '/apis/cilium.io/v2/ciliumnodes';

/** A CiliumNode is deleted when its Node has been away in two rounds: a Node may be made after its CiliumNode. */
export class NodeGc implements Duty {
  readonly name = 'node-gc';
  readonly #context: DutyContext;
  readonly #intervalMs: number;
  #missing = new Set<string>();

  constructor(context: DutyContext, intervalMs: number) {
    this.#context = context;
    this.#intervalMs = intervalMs;
  }

  run(signal: AbortSignal): Promise<void> {
    this.#missing.clear();
    return periodically(this.#context, this.name, this.#intervalMs, signal, () => this.round(signal));
  }

  async round(signal: AbortSignal): Promise<void> {
    const { server, logger } = this.#context;
    const ciliumNodes: ObjectMeta[] = [];
    for await (const node of listAll(server, CILIUM_NODES)) ciliumNodes.push(metaOf(node));
    const nodes = new Set<string>();
    for await (const node of listAll(server, NODES)) nodes.add(metaOf(node).name);
    const missing = ciliumNodes.filter(({ name, deleted }) => !deleted && !nodes.has(name));
    for (const node of missing) {
      if (signal.aborted) return;
      if (!this.#missing.has(node.uid)) continue;
      if ((await getObject(server, `${NODES}/${node.name}`)) !== undefined) continue;
      if (await deleteVersion(server, `${CILIUM_NODES}/${node.name}`, node))
        logger.info({ node: node.name }, 'CiliumNode deleted, because its Node is gone');
    }
    this.#missing = new Set(missing.map(({ uid }) => uid));
  }
}
