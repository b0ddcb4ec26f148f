/**
 * Collects identities that no endpoint uses, in two steps with a long time between them: an identity is marked with the
 * time at which it was found unused, and the very version that was marked is deleted when that is long ago. A node that
 * comes to use a marked identity takes the mark away, which makes another version; so does the operator when an endpoint
 * turns up. An identity in use is therefore never deleted, however the two happen to meet.
 */
import { PATCH, isRefusal, type JsonObject } from '../../agent/k8s/apiserver/client.ts';
import { periodically, type Duty, type DutyContext } from '../duty.ts';
import {
  deleteVersion,
  listAll,
  metaOf,
  recordOf,
  recordsOf,
  type ObjectMeta,
} from '../../agent/k8s/apiserver/objects.ts';

export interface IdentityGcOptions {
  /** Between rounds, in milliseconds. */
  readonly intervalMs: number;
  /** How long an identity must have been unused, in milliseconds. */
  readonly heartbeatTimeoutMs: number;
  /** Most deletions a round: a fault elsewhere must not take everything at once. */
  readonly mostPerRound: number;
}

/** When the identity was found unused: an annotation. */
export const UNUSED_SINCE = 'io.cilium.heartbeat';

const IDENTITIES = '/apis/cilium.io/v2/ciliumidentities';
const ENDPOINTS = '/apis/cilium.io/v2/ciliumendpoints';
const SLICES = '/apis/cilium.io/v2alpha1/ciliumendpointslices';

export class IdentityGc implements Duty {
  readonly name = 'identity-gc';
  readonly #context: DutyContext;
  readonly #options: IdentityGcOptions;
  /** When each identity was last seen in use, by this operator. */
  readonly #alive = new Map<string, number>();

  constructor(context: DutyContext, options: IdentityGcOptions) {
    this.#context = context;
    this.#options = options;
  }

  run(signal: AbortSignal): Promise<void> {
    this.#alive.clear();
    return periodically(this.#context, this.name, this.#options.intervalMs, signal, () => this.round(signal));
  }

  /** One look at everything. @throws WeirError when the API server does not answer, or refuses */
  async round(signal: AbortSignal): Promise<void> {
    const { server, clock } = this.#context;
    // The identities first: what is in use by then stands in an endpoint that is listed after.
    const identities: ObjectMeta[] = [];
    for await (const object of listAll(server, IDENTITIES)) identities.push(metaOf(object));
    for (const id of await this.#inUse()) this.#alive.set(id, clock.now());
    let left = this.#options.mostPerRound;
    for (const identity of identities) {
      if (signal.aborted) return;
      if (!identity.deleted && (await this.#judge(identity, left > 0))) left--;
    }
    const known = new Set(identities.map(({ name }) => name));
    for (const id of this.#alive.keys()) if (!known.has(id)) this.#alive.delete(id);
  }

  /** @returns whether it was deleted */
  async #judge(identity: ObjectMeta, mayDelete: boolean): Promise<boolean> {
    const { server, clock, logger, metrics } = this.#context;
    const { heartbeatTimeoutMs } = this.#options;
    const mark = identity.annotations[UNUSED_SINCE];
    const alive = this.#alive.get(identity.name);
    if (alive !== undefined && clock.now() - alive < heartbeatTimeoutMs) {
      if (mark !== undefined) await this.#mark(identity, null);
      metrics.identities.inc({ outcome: 'alive' });
      return false;
    }
    const since = mark === undefined ? Number.NaN : Date.parse(mark);
    // A mark that is no time, or lies ahead, was not made here: begin anew.
    if (!(since <= clock.now())) {
      await this.#mark(identity, new Date(clock.now()).toISOString());
      metrics.identities.inc({ outcome: 'marked' });
      return false;
    }
    if (!mayDelete || clock.now() - since < heartbeatTimeoutMs) return false;
    const deleted = await deleteVersion(server, `${IDENTITIES}/${identity.name}`, identity);
    metrics.identities.inc({ outcome: deleted ? 'deleted' : 'kept' });
    if (deleted) logger.info({ identity: identity.name }, 'deleted, because no endpoint has used it for long');
    return deleted;
  }

  async #mark({ name, resourceVersion }: ObjectMeta, value: string | null): Promise<void> {
    const body = { metadata: { resourceVersion, annotations: { [UNUSED_SINCE]: value } } };
    try {
      await this.#context.server.request({
        method: 'PATCH',
        path: `${IDENTITIES}/${name}`,
        body,
        contentType: PATCH.merge,
      });
    } catch (error) {
      // Somebody has just written it: the next round sees what.
      if (!isRefusal(error, 409) && !isRefusal(error, 404)) throw error;
    }
  }

  /** Identities of all endpoints, in slices or not. */
  async #inUse(): Promise<Set<string>> {
    const { server } = this.#context;
    const used = new Set<string>();
    const add = (id: unknown): void => {
      if (typeof id === 'number') used.add(String(id));
    };
    for await (const endpoint of listAll(server, ENDPOINTS))
      add(recordOf(recordOf(endpoint['status'])['identity'])['id']);
    for await (const slice of listAll(server, SLICES)) for (const endpoint of endpointsOf(slice)) add(endpoint['id']);
    return used;
  }
}

const endpointsOf = (slice: JsonObject): JsonObject[] => recordsOf(slice['endpoints']);
