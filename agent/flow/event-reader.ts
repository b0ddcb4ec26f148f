import { RingBuffer, type RecordReader } from '../kernel/ring-buffer.ts';
import type { Missed } from './broadcast.ts';
import { EventBroadcast, type EventSubscription } from './event-broadcast.ts';

/**
 * How long events gather before they are read: every new connection causes some, and would otherwise wake the agent. The
 * buffer holds what 350,000 connections a second cause meanwhile.
 */
const GATHER_MS = 50;

/** Reads `weir_events` and gives every event to every subscriber. Without subscribers records are skipped unseen. */
export class EventReader implements Disposable {
  readonly #broadcast: EventBroadcast;
  readonly #buffer: RingBuffer;
  #unknown = 0;

  /**
   * @param fd of the ring buffer map; stays the caller's and must outlive the reader
   * @param bootTime milliseconds since the epoch at which CLOCK_MONOTONIC was 0
   * @param onTraced hears whether somebody listens to traces, when that changes
   * @throws KernelError SYSCALL_FAILED
   */
  constructor(fd: number, bootTime: number, onTraced: (wanted: boolean) => void) {
    let traced = false;
    this.#broadcast = new EventBroadcast(bootTime, () => {
      const wanted = this.#broadcast.wants('trace');
      if (wanted !== traced) onTraced((traced = wanted));
    });
    const take: RecordReader = (data, offset, length) => {
      if (this.#broadcast.size > 0 && !this.#broadcast.publish(data, offset, length)) this.#unknown++;
    };
    this.#buffer = RingBuffer.open(fd, take, { gatherMs: GATHER_MS });
  }

  /** As {@link EventBroadcast.subscribe}. */
  subscribe(capacity: number, types?: ReadonlySet<string>): EventSubscription {
    return this.#broadcast.subscribe(capacity, types);
  }

  /** Tells subscribers what the kernel left out, which it counts. */
  miss(missed: Missed): void {
    this.#broadcast.miss(missed);
  }

  /** Records read, and of those, while somebody listened, the ones of an unknown kind. */
  get stats(): { readonly records: number; readonly unknown: number } {
    return { records: this.#buffer.stats.records, unknown: this.#unknown };
  }

  [Symbol.dispose](): void {
    this.#broadcast.close();
    this.#buffer.close();
  }
}

/** Milliseconds since the epoch at which CLOCK_MONOTONIC was 0. */
export function bootTime(nowMs: number, monotonicNs: bigint): number {
  return nowMs - Number(monotonicNs) / 1e6;
}
