/** What a node's keys end with: a lease, renewed for as long as the node lives, and made anew when it was lost. */
import type { Clock } from '../model/clock.ts';
import { errorText, WeirError } from '../model/errors.ts';
import { JsonFile } from '../state/json-file.ts';
import type { EtcdClient } from './etcd/client.ts';
import { isLeaseGone } from './etcd/faults.ts';
import { HEARTBEAT } from './layout.ts';
import { backOff, pause } from './retry.ts';

export interface SessionOptions {
  readonly client: Pick<EtcdClient, 'get' | 'grantLease' | 'renewLease' | 'endpoint'>;
  readonly clock: Clock;
  readonly ttlSeconds: number;
  /** Remembers the lease, so that a restarted node goes on with it; absent: none does. */
  readonly path?: string;
  /** What was kept under the lease before is gone, or not known to be there: it is to be written again. */
  readonly onLease: (lease: string) => void;
  /** The store answers not any more, or again. */
  readonly onContact?: (error: unknown) => void;
  /** A request that only a store with a quorum answers has failed. */
  readonly onQuorumError?: (error: unknown) => void;
}

/** How a node stands with the store. */
export interface SessionState {
  readonly lease: string | undefined;
  /** What went wrong last; undefined while all is well. */
  readonly error: unknown;
  /** Since when: milliseconds since the epoch. */
  readonly since: number | undefined;
  /** When the store last answered: milliseconds since the epoch. */
  readonly heard: number | undefined;
  /** What the operator wrote last. */
  readonly heartbeat: string | undefined;
}

/** Often enough to notice a store that has forgotten all. */
const RENEW_MS = 10_000;

export class Session {
  readonly #options: SessionOptions;
  readonly #file: JsonFile<{ readonly lease: string }> | undefined;
  readonly #waiting = new Set<(lease: string) => void>();
  #lease: string | undefined;
  #heartbeat: string | undefined;
  #error: unknown;
  #since: number | undefined;
  #heard: number | undefined;
  #wake: AbortController = new AbortController();

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#file = options.path === undefined ? undefined : new JsonFile(options.path, decodeLease);
  }

  get state(): SessionState {
    return {
      lease: this.#lease,
      error: this.#error,
      since: this.#since,
      heard: this.#heard,
      heartbeat: this.#heartbeat,
    };
  }

  /** Whether the store has answered within the time that a lease lasts: others cannot take this node for dead. */
  get isLive(): boolean {
    const { clock, ttlSeconds } = this.#options;
    return this.#heard !== undefined && clock.now() - this.#heard < ttlSeconds * 1000;
  }

  /** The lease, as soon as there is one. @throws WeirError KVSTORE_UNREACHABLE when there is none for `waitMs` */
  lease(waitMs: number): Promise<string> {
    if (this.#lease !== undefined) return Promise.resolve(this.#lease);
    this.check();
    return new Promise((resolve, reject) => {
      const cancel = this.#options.clock.after(waitMs, () => {
        this.#waiting.delete(done);
        const why = this.#error === undefined ? '' : `: ${errorText(this.#error)}`;
        const object = `etcd ${this.#options.client.endpoint}`;
        reject(new WeirError('KVSTORE_UNREACHABLE', `no lease after ${waitMs} ms${why}`, { object }));
      });
      const done = (lease: string): void => {
        cancel();
        resolve(lease);
      };
      this.#waiting.add(done);
    });
  }

  /** The store has said that this lease has ended. */
  lost(lease: string): void {
    if (this.#lease !== lease) return;
    this.#lease = undefined;
    this.check();
  }

  /** Sees at once whether the lease lives. */
  check(): void {
    this.#wake.abort();
  }

  /** Keeps a lease until the signal. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    this.#lease = await this.#remembered();
    // What the last run kept under it is known by asking.
    let told: string | undefined;
    let failures = 0;
    const stopped = (): boolean => signal.aborted;
    while (!stopped()) {
      this.#wake = new AbortController();
      const soon = AbortSignal.any([signal, this.#wake.signal]);
      try {
        const lease = await this.#renew();
        failures = 0;
        this.#contact(undefined);
        if (told !== lease) this.#tell(lease);
        told = lease;
        await pause(clock, Math.min(RENEW_MS, (this.#options.ttlSeconds * 1000) / 3), soon);
      } catch (error) {
        failures++;
        this.#contact(error);
        // Told of once more when the store is back: it may have forgotten what it held.
        told = undefined;
        await backOff(clock, failures, signal);
      }
    }
  }

  /** @returns the lease, which lives */
  async #renew(): Promise<string> {
    const { client, ttlSeconds } = this.#options;
    if (this.#lease !== undefined && !(await this.#renewed(this.#lease))) this.#lease = undefined;
    this.#lease ??= await client.grantLease(ttlSeconds);
    await this.#file?.write({ lease: this.#lease });
    // Reading is what needs a quorum.
    try {
      this.#heartbeat = (await client.get(HEARTBEAT))?.value;
    } catch (error) {
      this.#options.onQuorumError?.(error);
      throw error;
    }
    return this.#lease;
  }

  async #renewed(lease: string): Promise<boolean> {
    try {
      return await this.#options.client.renewLease(lease);
    } catch (error) {
      if (isLeaseGone(error)) return false;
      throw error;
    }
  }

  #tell(lease: string): void {
    for (const done of this.#waiting) done(lease);
    this.#waiting.clear();
    this.#options.onLease(lease);
  }

  #contact(error: unknown): void {
    const { clock, onContact } = this.#options;
    const failed = error !== undefined;
    const failedBefore = this.#error !== undefined;
    if (!failed) this.#heard = clock.now();
    this.#error = error;
    this.#since = failed ? (this.#since ?? clock.now()) : undefined;
    if (failed !== failedBefore) onContact?.(error);
  }

  async #remembered(): Promise<string | undefined> {
    const outcome = await this.#file?.read(this.#options.clock.now());
    return outcome?.kind === 'value' ? outcome.value.lease : undefined;
  }
}

function decodeLease(json: unknown): { readonly lease: string } {
  if (typeof json === 'object' && json !== null && 'lease' in json && /^\d+$/.test(String(json.lease)))
    return { lease: String(json.lease) };
  throw new Error('expected the number of a lease');
}
