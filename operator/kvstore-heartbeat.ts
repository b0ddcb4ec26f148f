/** Writes into etcd, every minute, that it takes writes; and knows how it stands. */
import type { EtcdClient } from '../agent/kvstore/etcd/client.ts';
import { HEARTBEAT } from '../agent/kvstore/layout.ts';
import { Session } from '../agent/kvstore/session.ts';
import { errorText } from '../agent/model/errors.ts';
import { periodically, type Duty, type DutyContext } from './duty.ts';

const INTERVAL_MS = 60_000;
/** It ends with the operator, and not at once when that is late. */
const TTL_SECONDS = 900;
const LEASE_WAIT_MS = 10_000;

export class KvstoreHeartbeat implements Duty {
  readonly name = 'kvstore-heartbeat';
  readonly #context: DutyContext;
  readonly #client: EtcdClient;
  readonly #session: Session;

  constructor(context: DutyContext, client: EtcdClient) {
    this.#context = context;
    this.#client = client;
    const { clock } = context;
    this.#session = new Session({
      ...{ client, clock, ttlSeconds: TTL_SECONDS },
      onLease: () => undefined,
      onQuorumError: (error) => context.logger.warn(`etcd does not answer with a quorum: ${errorText(error)}`),
    });
  }

  /** How the store stands, in words. */
  get status(): string {
    const { error, since, heard } = this.#session.state;
    const name = `etcd ${this.#client.endpoint}`;
    if (error !== undefined) return `${name}: cut off since ${new Date(since ?? 0).toISOString()}: ${errorText(error)}`;
    return heard === undefined ? `${name}: not reached yet` : `${name}: ok`;
  }

  async run(signal: AbortSignal): Promise<void> {
    const beat = async (): Promise<void> => {
      const lease = await this.#session.lease(LEASE_WAIT_MS);
      await this.#client.put(HEARTBEAT, new Date(this.#context.clock.now()).toISOString(), lease);
    };
    await Promise.all([this.#session.run(signal), periodically(this.#context, this.name, INTERVAL_MS, signal, beat)]);
  }
}
