/**
 * Says in the Node's status that its pods have a network. Clouds say of a new node that it has none (condition NetworkUnavailable),
 * until somebody knows better, and schedule nothing there before.
 */
import { PATCH, type ApiServer } from '../k8s/apiserver/client.ts';
import { recordOf, recordsOf } from '../k8s/apiserver/objects.ts';
import { delay, retryDelay } from '../k8s/apiserver/retry.ts';
import type { Clock } from '../model/clock.ts';

const TYPE = 'NetworkUnavailable';

export interface NetworkConditionOptions {
  readonly server: ApiServer;
  readonly clock: Clock;
  readonly nodeName: string;
  readonly onError: (message: string, error: unknown) => void;
}

export class NetworkCondition {
  readonly #options: NetworkConditionOptions;
  readonly #stop = new AbortController();
  /** Node object that was told: one that takes its name has to be told anew. */
  #uid = '';
  #telling = Promise.resolve();

  constructor(options: NetworkConditionOptions) {
    this.#options = options;
  }

  /** Tells the Node of this uid, once, and tries for as long as it takes. */
  tell(uid: string): void {
    if (uid === this.#uid || uid === '') return;
    this.#uid = uid;
    this.#telling = this.#telling.then(() => this.#try(uid));
  }

  /** After this resolves nothing more is written. */
  close(): Promise<void> {
    this.#stop.abort();
    return this.#telling;
  }

  async #try(uid: string): Promise<void> {
    const { clock, nodeName, onError } = this.#options;
    const { signal } = this.#stop;
    for (let attempts = 1; !signal.aborted && uid === this.#uid; attempts++) {
      try {
        await this.#write();
        return;
      } catch (error) {
        if (attempts === 1) onError(`Node ${nodeName} cannot be told that it has a network, trying again`, error);
        await delay(clock, retryDelay(error, attempts, Math.random()), signal);
      }
    }
  }

  async #write(): Promise<void> {
    const { server, clock, nodeName } = this.#options;
    const path = `/api/v1/nodes/${nodeName}`;
    const { status } = await server.request({ method: 'GET', path });
    const before = recordsOf(recordOf(status)['conditions']).find(({ type }) => type === TYPE);
    if (before?.['status'] === 'False') return;
    const now = new Date(clock.now()).toISOString().replace(/\.\d+Z$/, 'Z');
    const condition = {
      ...{ type: TYPE, status: 'False', reason: 'WeirIsUp', message: 'Weir is running on this node' },
      ...{ lastHeartbeatTime: now, lastTransitionTime: now },
    };
    const body = { status: { conditions: [condition] } };
    await server.request({ method: 'PATCH', path: `${path}/status`, body, contentType: PATCH.strategic });
  }
}
