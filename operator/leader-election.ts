/**
 * One of several operators leads: whoever holds the Lease. A holder renews it; when it does not for the length of the lease,
 * as others measure it from the last change they saw, one of them takes it. A holder that cannot renew stops in time: sooner
 * than others may take over. Clocks of different machines are never compared.
 */
import type { Logger } from 'pino';
import { isRefusal, type ApiServer, type JsonObject } from '../agent/k8s/apiserver/client.ts';
import { delay } from '../agent/k8s/apiserver/retry.ts';
import type { Clock } from '../agent/model/clock.ts';
import { errorText } from '../agent/model/errors.ts';
import { getObject, metaOf, recordOf, textOf } from '../agent/k8s/apiserver/objects.ts';

export interface LeaderElectionOptions {
  readonly server: ApiServer;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly namespace: string;
  readonly name: string;
  /** Of this operator, as no other has it. */
  readonly identity: string;
  /** How long others wait for a holder that has fallen silent, in milliseconds. */
  readonly leaseMs: number;
  /** How long a holder goes on without having renewed: less than the above, in milliseconds. */
  readonly renewMs: number;
  /** Between attempts, in milliseconds. */
  readonly retryMs: number;
  /** What else a holder says with each renewal. */
  readonly annotations?: () => Readonly<Record<string, string>>;
}

export class LeaderElection {
  readonly #options: LeaderElectionOptions;
  /** The last version that was seen, and when it was seen first. */
  #observed = { version: '', at: 0 };

  constructor(options: LeaderElectionOptions) {
    this.#options = options;
  }

  /**
   * Calls `lead` whenever this operator comes to lead, with a signal that ends when it does not any more. Runs until the
   * signal, and gives the lease back then.
   */
  async run(signal: AbortSignal, lead: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const { clock, logger, retryMs } = this.#options;
    const stopped = (): boolean => signal.aborted;
    while (!stopped()) {
      if (await this.#try()) {
        logger.info('leads');
        await this.#hold(signal, lead);
        logger.info('leads no more');
      }
      await delay(clock, retryMs, signal);
    }
  }

  async #hold(signal: AbortSignal, lead: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const { clock, renewMs, retryMs } = this.#options;
    const lost = new AbortController();
    const leading = lead(AbortSignal.any([signal, lost.signal]));
    let renewed = clock.now();
    // The wait for an answer is part of the time without one, so the alarm runs beside the attempts.
    let cancel = clock.after(renewMs, () => lost.abort());
    const over = (): boolean => signal.aborted || lost.signal.aborted;
    while (!over()) {
      await delay(clock, retryMs, AbortSignal.any([signal, lost.signal]));
      if (over()) break;
      const asked = clock.now();
      if (await this.#try()) {
        cancel();
        renewed = asked;
        if (!over()) cancel = clock.after(Math.max(0, renewMs - (clock.now() - renewed)), () => lost.abort());
      } else if (this.#takenByOther) lost.abort();
    }
    cancel();
    await leading;
    if (signal.aborted && !lost.signal.aborted) await this.#release();
  }

  #takenByOther = false;

  /** Takes or renews the lease. False when another holds it, or nobody can say. */
  async #try(): Promise<boolean> {
    const { logger } = this.#options;
    try {
      return await this.#take();
    } catch (error) {
      // Someone was faster; otherwise the next attempt tells.
      if (!isRefusal(error, 409)) logger.warn(`the lease cannot be had: ${errorText(error)}`);
      return false;
    }
  }

  async #take(): Promise<boolean> {
    const { server, identity, clock } = this.#options;
    const lease = await getObject(server, this.#path());
    if (lease === undefined) {
      await server.request({ method: 'POST', path: this.#collection(), body: this.#body({}, 0, true) });
      this.#takenByOther = false;
      return true;
    }
    const { resourceVersion } = metaOf(lease);
    if (resourceVersion !== this.#observed.version) this.#observed = { version: resourceVersion, at: clock.now() };
    const spec = recordOf(lease['spec']);
    const holder = textOf(spec['holderIdentity']);
    const seconds = typeof spec['leaseDurationSeconds'] === 'number' ? spec['leaseDurationSeconds'] : 0;
    if (holder !== '' && holder !== identity && clock.now() < this.#observed.at + seconds * 1000) {
      this.#takenByOther = true;
      return false;
    }
    const transitions = typeof spec['leaseTransitions'] === 'number' ? spec['leaseTransitions'] : 0;
    const changes = holder !== identity;
    const body = this.#body(lease, transitions + (changes ? 1 : 0), changes);
    const written = await server.request({ method: 'PUT', path: this.#path(), body });
    this.#observed = { version: metaOf(written).resourceVersion, at: clock.now() };
    this.#takenByOther = false;
    return true;
  }

  /** Lets the next one take over at once. */
  async #release(): Promise<void> {
    const { server, identity, logger } = this.#options;
    try {
      const lease = await getObject(server, this.#path());
      const spec = recordOf(lease?.['spec']);
      if (lease === undefined || spec['holderIdentity'] !== identity) return;
      const body = { ...lease, spec: { ...spec, holderIdentity: '', leaseDurationSeconds: 1, renewTime: this.#now() } };
      await server.request({ method: 'PUT', path: this.#path(), body });
    } catch (error) {
      logger.warn(`the lease cannot be given back, and runs out: ${errorText(error)}`);
    }
  }

  #body(lease: JsonObject, leaseTransitions: number, changes: boolean): JsonObject {
    const { name, namespace, identity, leaseMs, annotations = () => ({}) } = this.#options;
    const now = this.#now();
    const metadata = recordOf(lease['metadata']);
    return {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: {
        ...{ name, namespace, ...metadata },
        annotations: { ...recordOf(metadata['annotations']), ...annotations() },
      },
      spec: {
        ...recordOf(lease['spec']),
        holderIdentity: identity,
        leaseDurationSeconds: Math.ceil(leaseMs / 1000),
        renewTime: now,
        leaseTransitions,
        ...(changes && { acquireTime: now }),
      },
    };
  }

  /** A MicroTime of Kubernetes. */
  #now(): string {
    return new Date(this.#options.clock.now()).toISOString().replace('Z', '000Z');
  }

  #collection(): string {
    return `/apis/coordination.k8s.io/v1/namespaces/${this.#options.namespace}/leases`;
  }

  #path(): string {
    return `${this.#collection()}/${this.#options.name}`;
  }
}
