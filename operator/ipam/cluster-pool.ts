/** Gives every CiliumNode its pod CIDRs out of the cluster's pool, by a ledger in a ConfigMap. */
import { PATCH, isRefusal, type JsonObject } from '../../agent/k8s/apiserver/client.ts';
import { Reflector } from '../../agent/k8s/apiserver/reflector.ts';
import { delay } from '../../agent/k8s/apiserver/retry.ts';
import { errorText } from '../../agent/model/errors.ts';
import type { ResourceEvent } from '../../agent/model/resource.ts';
import type { PoolConfig } from '../config.ts';
import type { Duty, DutyContext } from '../duty.ts';
import { getObject, metaOf, recordOf, textOf } from '../../agent/k8s/apiserver/objects.ts';
import { WorkQueue } from '../work-queue.ts';
import { assign, type Assignment, type Ledger } from './assignment.ts';

/** Name of the ConfigMap: an entry a node. */
export const LEDGER = 'weir-pod-cidrs';

const NODES = '/apis/cilium.io/v2/ciliumnodes';
const RECHECK_MS = 60_000;

/** Key of the queue under which the ledger itself is worked on; no node has this name. */
const LEDGER_KEY = '*ledger';

export class ClusterPool implements Duty {
  readonly name = 'cluster-pool';
  readonly #context: DutyContext;
  readonly #pools: readonly PoolConfig[];
  readonly #namespace: string;
  readonly #queue: WorkQueue;
  /** What each node says it has. */
  readonly #nodes = new Map<string, readonly string[]>();
  #assignment: Assignment | undefined;
  #synced = false;

  constructor(context: DutyContext, pools: readonly PoolConfig[], namespace: string) {
    this.#context = context;
    this.#pools = pools;
    this.#namespace = namespace;
    this.#queue = new WorkQueue(context, this.name, { perSecond: 50, burst: 200 }, (key) =>
      key === LEDGER_KEY ? this.#decide() : this.#tell(key),
    );
  }

  async run(signal: AbortSignal): Promise<void> {
    const { server, clock, random, logger } = this.#context;
    this.#nodes.clear();
    this.#synced = false;
    this.#assignment = undefined;
    const reflector = new Reflector({
      ...{ kind: 'CiliumNode', server, clock, random },
      onEvent: (event) => this.#onEvent(event),
      onState: (state) => {
        if (state.phase === 'failing') logger.warn(`CiliumNodes cannot be followed: ${errorText(state.error)}`);
      },
    });
    // Before all nodes are known, what seems free may be taken.
    void reflector.synced.then(() => {
      this.#synced = true;
      this.#queue.add(LEDGER_KEY);
    });
    await Promise.all([this.#queue.run(signal), reflector.run(signal), this.#recheck(signal)]);
  }

  async #recheck(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await delay(this.#context.clock, RECHECK_MS, signal);
      if (this.#synced) this.#queue.add(LEDGER_KEY);
    }
  }

  #onEvent(event: ResourceEvent): void {
    if (event.type === 'synced') return;
    const { name, object } = event.resource;
    const has = podCidrsOf(object);
    const before = this.#nodes.get(name);
    if (event.type === 'delete') this.#nodes.delete(name);
    else if (before !== undefined && String(before) === String(has)) return;
    else this.#nodes.set(name, has);
    if (this.#synced) this.#queue.add(LEDGER_KEY);
  }

  /** Brings the ledger up to date, and has every node told that lacks something. */
  async #decide(): Promise<void> {
    const { server, metrics } = this.#context;
    const object = await getObject(server, this.#path());
    const before = readLedger(object);
    const assignment = assign(this.#pools, before, this.#nodes, await this.#gone(before));
    if (!sameLedger(before, assignment.ledger)) {
      try {
        await this.#write(object, assignment.ledger);
      } catch (error) {
        if (!isRefusal(error, 409)) throw error;
        // Another operator wrote it meanwhile: decide anew, from what it wrote.
        this.#queue.add(LEDGER_KEY);
        return;
      }
    }
    this.#assignment = assignment;
    for (const { family, total, taken } of assignment.usage) {
      metrics.ipam.set({ family: `ipv${family}`, state: 'used' }, taken);
      metrics.ipam.set({ family: `ipv${family}`, state: 'total' }, Number(total));
    }
    for (const [node, has] of this.#nodes) {
      const gets = assignment.ledger.get(node) ?? [];
      if (assignment.errors.has(node) || gets.some((cidr) => !has.includes(cidr))) this.#queue.add(node);
    }
  }

  /** Nodes of the ledger that are no more: without a CiliumNode, and without a Node that may make one again. */
  async #gone(before: Ledger): Promise<Set<string>> {
    const gone = new Set<string>();
    for (const node of before.keys()) {
      if (this.#nodes.has(node)) continue;
      const path = [`${NODES}/${node}`, `/api/v1/nodes/${node}`];
      const found = await Promise.all(path.map((each) => getObject(this.#context.server, each)));
      if (found.every((object) => object === undefined)) gone.add(node);
    }
    return gone;
  }

  async #write(object: JsonObject | undefined, ledger: Ledger): Promise<void> {
    const data = Object.fromEntries([...ledger].map(([node, cidrs]) => [node, cidrs.join(',')]));
    const { server } = this.#context;
    const collection = `/api/v1/namespaces/${this.#namespace}/configmaps`;
    const common = { apiVersion: 'v1', kind: 'ConfigMap', data };
    if (object === undefined) {
      const metadata = { name: LEDGER, labels: { 'app.kubernetes.io/part-of': 'weir' } };
      await server.request({ method: 'POST', path: collection, body: { ...common, metadata } });
    } else {
      await server.request({ method: 'PUT', path: this.#path(), body: { ...object, ...common } });
    }
  }

  /** Writes to a node what the ledger says is its, or why it gets nothing. */
  async #tell(name: string): Promise<void> {
    const { server, logger } = this.#context;
    const node = await getObject(server, `${NODES}/${name}`);
    if (node === undefined || this.#assignment === undefined) return;
    const gets = this.#assignment.ledger.get(name) ?? [];
    const error = this.#assignment.errors.get(name) ?? '';
    const { resourceVersion } = metaOf(node);
    const has = podCidrsOf(node);
    let version = resourceVersion;
    // What a node has stays in its place: its first prefix of a family is the one that it uses.
    const wanted = [...has, ...gets.filter((cidr) => !has.includes(cidr))];
    if (error === '' && wanted.length > has.length) {
      const body = { metadata: { resourceVersion }, spec: { ipam: { podCIDRs: wanted } } };
      const written = await server.request({
        method: 'PATCH',
        path: `${NODES}/${name}`,
        body,
        contentType: PATCH.merge,
      });
      version = metaOf(written).resourceVersion;
      logger.info({ node: name, podCIDRs: wanted }, 'pod CIDRs given');
    }
    const told = textOf(recordOf(recordOf(recordOf(node['status'])['ipam'])['operator-status'])['error']);
    if (told === error) return;
    if (error !== '') logger.error({ node: name }, `gets no pod CIDRs: ${error}`);
    const body = { metadata: { resourceVersion: version }, status: { ipam: { 'operator-status': { error } } } };
    await server.request({ method: 'PATCH', path: `${NODES}/${name}/status`, body, contentType: PATCH.merge });
  }

  #path(): string {
    return `/api/v1/namespaces/${this.#namespace}/configmaps/${LEDGER}`;
  }
}

function podCidrsOf(node: JsonObject): readonly string[] {
  const list = recordOf(recordOf(node['spec'])['ipam'])['podCIDRs'];
  return Array.isArray(list) ? list.map(String) : [];
}

function readLedger(object: JsonObject | undefined): Ledger {
  const data = recordOf(object?.['data']);
  return new Map(
    Object.entries(data).map(([node, cidrs]) => [
      node,
      textOf(cidrs)
        .split(',')
        .filter((cidr) => cidr !== ''),
    ]),
  );
}

function sameLedger(a: Ledger, b: Ledger): boolean {
  return a.size === b.size && [...a].every(([node, cidrs]) => String(b.get(node)) === String(cidrs));
}
