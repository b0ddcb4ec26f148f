/** Tells the writers of objects, where `kubectl describe` looks, that a node could not take them. */
import { createHash } from 'node:crypto';
import type { Clock } from '../../model/clock.ts';
import type { ResourceStatus } from '../../model/resource.ts';
import { isRefusal, type ApiServer } from './client.ts';
import type { WriteLimiter } from './write-limiter.ts';

export interface EventRecorderOptions {
  readonly server: ApiServer;
  readonly limiter: Pick<WriteLimiter, 'take'>;
  readonly clock: Clock;
  readonly nodeName: string;
  readonly onError: (message: string, error: unknown) => void;
}

/** Of these the operator says in their status, and in an Event, what is wrong with them: operator/policy-status.ts. */
const JUDGED_BY_OPERATOR: ReadonlySet<string> = new Set(['CiliumNetworkPolicy', 'CiliumClusterwideNetworkPolicy']);

/** Longer messages are refused by the API server. */
const MESSAGE_LIMIT = 1024;

/**
 * Makes an Event for each rejection. Its name follows from the object and the message, so that the nodes of a cluster, which
 * all reject the same, make one together.
 */
export class EventRecorder {
  readonly #options: EventRecorderOptions;
  /** What this node has told of each object. */
  readonly #told = new Map<string, string>();

  constructor(options: EventRecorderOptions) {
    this.#options = options;
  }

  /** Takes in what came of an object. Never rejects: an event that cannot be written is logged. */
  async record({ resource, accepted, errors }: ResourceStatus): Promise<void> {
    const { kind, namespace, name, uid, apiVersion } = resource;
    if (JUDGED_BY_OPERATOR.has(kind)) return;
    const key = `${kind} ${namespace}/${name}`;
    const message = errors.join('; ').slice(0, MESSAGE_LIMIT);
    if (accepted) {
      this.#told.delete(key);
      return;
    }
    if (this.#told.get(key) === message) return;
    this.#told.set(key, message);
    const { server, limiter, clock, nodeName, onError } = this.#options;
    // Events about what belongs to no namespace live in this one.
    const home = namespace === '' ? 'default' : namespace;
    const hash = createHash('sha256').update(`${uid} ${message}`).digest('hex').slice(0, 16);
    const now = new Date(clock.now()).toISOString().replace(/\.\d+Z$/, 'Z');
    const body = {
      ...{ apiVersion: 'v1', kind: 'Event', type: 'Warning', reason: 'PolicyRejected', message, count: 1 },
      metadata: { name: `${name.slice(0, 200)}.${hash}`, namespace: home },
      involvedObject: { apiVersion, kind, name, ...(namespace !== '' && { namespace }), ...(uid !== '' && { uid }) },
      source: { component: 'weir-agent', host: nodeName },
      ...{ firstTimestamp: now, lastTimestamp: now, reportingComponent: 'weir-agent', reportingInstance: nodeName },
    };
    try {
      await limiter.take();
      await server.request({ method: 'POST', path: `/api/v1/namespaces/${home}/events`, body });
    } catch (error) {
      // Another node was first.
      if (!isRefusal(error, 409)) onError(`the event about ${key} cannot be written`, error);
    }
  }
}
