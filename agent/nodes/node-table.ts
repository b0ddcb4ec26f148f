import { isDeepStrictEqual } from 'node:util';
import { sourceOutranks, type IpcacheSource } from '../ipcache/source.ts';
import type { ClusterNode } from '../model/node.ts';

/** A node came (`after` alone), changed, or went (`before` alone). */
export interface NodeChange {
  readonly name: string;
  readonly before?: ClusterNode;
  readonly after?: ClusterNode;
}

export type NodeListener = (changes: readonly NodeChange[]) => void;

/** The nodes of the cluster, whoever announces them; this node is among them when somebody does. */
export interface NodeSource {
  /** Name of this node. */
  readonly self: string;
  nodes(): readonly ClusterNode[];
  get(name: string): ClusterNode | undefined;
  /**
   * Calls `listener` with the nodes that are known, then with every change.
   *
   * @returns ends the subscription
   */
  subscribe(listener: NodeListener): () => void;
}

/** Who announces nodes; believed in the order of the ipcache's sources. */
export type NodeOrigin = Extract<IpcacheSource, 'kvstore' | 'custom-resource' | 'kubernetes'>;

/** Joins what several origins say about nodes: of each node, what the best of them says. */
export class NodeTable implements NodeSource {
  readonly self: string;
  readonly #announced = new Map<string, Map<NodeOrigin, ClusterNode>>();
  readonly #listeners = new Set<NodeListener>();

  constructor(self: string) {
    this.self = self;
  }

  nodes(): readonly ClusterNode[] {
    return [...this.#announced.values()].map((by) => best(by)!);
  }

  get(name: string): ClusterNode | undefined {
    const by = this.#announced.get(name);
    return by && best(by);
  }

  /** Who announces the node, the one that is believed; undefined when nobody does. */
  originOf(name: string): NodeOrigin | undefined {
    const by = this.#announced.get(name);
    return by && bestOrigin(by);
  }

  /** Undefined takes back what the origin said. */
  set(origin: NodeOrigin, name: string, node: ClusterNode | undefined): void {
    const by = this.#announced.get(name) ?? new Map<NodeOrigin, ClusterNode>();
    const before = best(by);
    if (node === undefined) by.delete(origin);
    else by.set(origin, node);
    const after = best(by);
    if (after === undefined) this.#announced.delete(name);
    else this.#announced.set(name, by);
    if (isDeepStrictEqual(before, after)) return;
    this.#tell([{ name, ...(before && { before }), ...(after && { after }) }]);
  }

  subscribe(listener: NodeListener): () => void {
    this.#listeners.add(listener);
    const standing = this.nodes().map((after) => ({ name: after.name, after }));
    if (standing.length > 0) listener(standing);
    return () => void this.#listeners.delete(listener);
  }

  #tell(changes: readonly NodeChange[]): void {
    for (const listener of [...this.#listeners]) listener(changes);
  }
}

function best(by: ReadonlyMap<NodeOrigin, ClusterNode>): ClusterNode | undefined {
  const first = bestOrigin(by);
  return first && by.get(first);
}

function bestOrigin(by: ReadonlyMap<NodeOrigin, ClusterNode>): NodeOrigin | undefined {
  return [...by.keys()].sort((a, b) => (sourceOutranks(a, b) ? -1 : 1))[0];
}
