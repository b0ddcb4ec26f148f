/** Deletes CiliumEndpoints whose pod is gone, which a node that died could not take along. */
import type { JsonObject } from '../../agent/k8s/apiserver/client.ts';
import { periodically, type Duty, type DutyContext } from '../duty.ts';
import {
  deleteVersion,
  getObject,
  listAll,
  metaOf,
  recordOf,
  textOf,
  type ObjectMeta,
} from '../../agent/k8s/apiserver/objects.ts';

const PODS = '/api/v1/pods';
const ENDPOINTS = '/apis/cilium.io/v2/ciliumendpoints';

/** Phases in which a pod has no network any more. */
const ENDED: ReadonlySet<string> = new Set(['Succeeded', 'Failed']);

export class EndpointGc implements Duty {
  readonly name = 'endpoint-gc';
  readonly #context: DutyContext;
  readonly #intervalMs: number;

  constructor(context: DutyContext, intervalMs: number) {
    this.#context = context;
    this.#intervalMs = intervalMs;
  }

  run(signal: AbortSignal): Promise<void> {
    return periodically(this.#context, this.name, this.#intervalMs, signal, () => this.round(signal));
  }

  async round(signal: AbortSignal): Promise<void> {
    const { server, logger, metrics } = this.#context;
    const endpoints: ObjectMeta[] = [];
    for await (const endpoint of listAll(server, ENDPOINTS)) endpoints.push(metaOf(endpoint));
    // The pods after the endpoints: an endpoint is made after its pod, so that none is missed.
    const pods = new Map<string, string>();
    for await (const pod of listAll(server, PODS)) {
      const { namespace, name, uid } = metaOf(pod);
      if (!hasEnded(pod)) pods.set(`${namespace}/${name}`, uid);
    }
    for (const endpoint of endpoints) {
      if (signal.aborted) return;
      const { namespace, name } = endpoint;
      if (endpoint.deleted || !isStale(endpoint, pods.get(`${namespace}/${name}`))) continue;
      // The list may come from a cache that lags; the pod itself does not.
      const pod = await getObject(server, `/api/v1/namespaces/${namespace}/pods/${name}`);
      if (pod !== undefined && !hasEnded(pod) && !isStale(endpoint, metaOf(pod).uid)) continue;
      const deleted = await deleteVersion(
        server,
        `/apis/cilium.io/v2/namespaces/${namespace}/ciliumendpoints/${name}`,
        endpoint,
      );
      metrics.endpoints.inc({ outcome: deleted ? 'deleted' : 'changed' });
      if (deleted) logger.info({ endpoint: `${namespace}/${name}` }, 'deleted, because its pod is gone');
    }
  }
}

const hasEnded = (pod: JsonObject): boolean => ENDED.has(textOf(recordOf(pod['status'])['phase']));

/** Whether an endpoint belongs to no pod, or to an earlier one of the same name. */
function isStale({ owners }: ObjectMeta, podUid: string | undefined): boolean {
  if (podUid === undefined) return true;
  const owner = owners.find(({ kind }) => kind === 'Pod');
  return owner !== undefined && owner.uid !== podUid;
}
