/** Says in the status of every policy whether it is valid, and in an Event why it is not. */
import { PATCH, isRefusal, type JsonObject } from '../agent/k8s/apiserver/client.ts';
import { Reflector } from '../agent/k8s/apiserver/reflector.ts';
import { collectionPath, preferredApiVersion } from '../agent/k8s/kinds.ts';
import { errorText } from '../agent/model/errors.ts';
import type { Resource, ResourceEvent } from '../agent/model/resource.ts';
import { decodePolicy, formatIssue, type DecodeOptions } from '../agent/policy/api/index.ts';
import type { Duty, DutyContext } from './duty.ts';
import { getObject, metaOf, recordOf, recordsOf, textOf } from '../agent/k8s/apiserver/objects.ts';
import { WorkQueue } from './work-queue.ts';

const KINDS = ['CiliumNetworkPolicy', 'CiliumClusterwideNetworkPolicy'] as const;

type PolicyKind = (typeof KINDS)[number];

/** Longer messages would outgrow what an Event takes. */
const LONGEST_MESSAGE = 1000;

interface Verdict {
  readonly valid: boolean;
  readonly message: string;
}

export class PolicyStatus implements Duty {
  readonly name = 'policy-status';
  readonly #context: DutyContext;
  readonly #options: DecodeOptions;
  readonly #policies = new Map<string, Resource>();
  readonly #verdicts = new Map<string, boolean>();
  readonly #queue: WorkQueue;

  constructor(context: DutyContext, options: DecodeOptions) {
    this.#context = context;
    this.#options = options;
    this.#queue = new WorkQueue(context, this.name, { perSecond: 20, burst: 100 }, (key) => this.#tell(key));
  }

  async run(signal: AbortSignal): Promise<void> {
    const { server, clock, random, logger } = this.#context;
    this.#policies.clear();
    this.#verdicts.clear();
    const reflectors = KINDS.map(
      (kind) =>
        new Reflector({
          ...{ kind, server, clock, random },
          onEvent: (event) => this.#onEvent(event),
          onState: (state) => {
            if (state.phase === 'failing') logger.warn({ kind }, `cannot be followed: ${errorText(state.error)}`);
          },
        }),
    );
    await Promise.all([this.#queue.run(signal), ...reflectors.map((reflector) => reflector.run(signal))]);
  }

  #onEvent(event: ResourceEvent): void {
    if (event.type === 'synced') return;
    const { kind, namespace, name } = event.resource;
    const key = `${kind}/${namespace}/${name}`;
    if (event.type === 'upsert') {
      this.#policies.set(key, event.resource);
      this.#queue.add(key);
    } else {
      this.#policies.delete(key);
      this.#verdicts.delete(key);
      this.#count();
    }
  }

  #count(): void {
    let valid = 0;
    for (const verdict of this.#verdicts.values()) if (verdict) valid++;
    this.#context.metrics.policies.set({ valid: 'true' }, valid);
    this.#context.metrics.policies.set({ valid: 'false' }, this.#verdicts.size - valid);
  }

  async #tell(key: string): Promise<void> {
    const { server, clock, logger } = this.#context;
    const resource = this.#policies.get(key);
    if (resource === undefined) return;
    const path = `${collectionPath(resource.kind, preferredApiVersion(resource.kind), resource.namespace)}/${resource.name}`;
    // What is judged is what is written to: an event may be of an older version.
    const object = await getObject(server, path);
    if (object === undefined) return;
    const verdict = this.judge(object);
    this.#verdicts.set(key, verdict.valid);
    this.#count();
    const conditions = recordsOf(recordOf(object['status'])['conditions']);
    const before = conditions.find(({ type }) => type === 'Valid');
    const status = verdict.valid ? 'True' : 'False';
    if (before?.['status'] === status && before['message'] === verdict.message) return;
    const changed = before?.['status'] !== status;
    const condition = {
      type: 'Valid',
      status,
      lastTransitionTime: changed
        ? new Date(clock.now()).toISOString().replace(/\.\d+Z/, 'Z')
        : before['lastTransitionTime'],
      reason: verdict.valid ? 'Valid' : 'Invalid',
      message: verdict.message,
    };
    const others = conditions.filter(({ type }) => type !== 'Valid');
    const { resourceVersion } = metaOf(object);
    const body = { metadata: { resourceVersion }, status: { conditions: [...others, condition] } };
    try {
      await server.request({ method: 'PATCH', path: `${path}/status`, body, contentType: PATCH.merge });
    } catch (error) {
      if (isRefusal(error, 404)) return;
      throw error;
    }
    if (verdict.valid) return;
    logger.warn({ policy: key }, `is not valid: ${verdict.message}`);
    await this.#event(object, resource.kind as PolicyKind, verdict);
  }

  /** Whether a policy is one, and if not, every fault with its remedy. */
  judge(object: JsonObject): Verdict {
    const { errors } = decodePolicy(object, this.#options);
    if (errors === undefined) return { valid: true, message: 'Policy validation succeeded' };
    return {
      valid: false,
      message: errors
        .map((issue) => formatIssue(issue, ''))
        .join('; ')
        .slice(0, LONGEST_MESSAGE),
    };
  }

  async #event(object: JsonObject, kind: PolicyKind, { message }: Verdict): Promise<void> {
    const { name, namespace, uid, resourceVersion } = metaOf(object);
    const { clock, server } = this.#context;
    const eventNamespace = namespace === '' ? 'default' : namespace;
    const now = new Date(clock.now()).toISOString().replace(/\.\d+Z/, 'Z');
    const body = {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { generateName: `${name.slice(0, 200)}.`, namespace: eventNamespace },
      involvedObject: { apiVersion: textOf(object['apiVersion']), kind, name, namespace, uid, resourceVersion },
      ...{ type: 'Warning', reason: 'PolicyInvalid', message, count: 1 },
      ...{ firstTimestamp: now, lastTimestamp: now },
      ...{
        source: { component: 'weir-operator' },
        reportingComponent: 'weir-operator',
        reportingInstance: 'weir-operator',
      },
    };
    await server.request({ method: 'POST', path: `/api/v1/namespaces/${eventNamespace}/events`, body });
  }
}
