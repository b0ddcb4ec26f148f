import { RingBuffer, type RecordReader } from '../kernel/ring-buffer.ts';
import { Broadcast, type Missed, type Subscription } from './broadcast.ts';
import { decodeEvent, type FlowEvent } from './event.ts';

/**
 * How long events gather before they are read: every new connection causes some, and would otherwise wake the agent. The
 * buffer holds what 350,000 connections a second cause meanwhile.
 */
const GATHER_MS = 50;

/** Reads `weir_events` and gives every event to every subscriber. Without subscribers records are skipped undecoded. */
export class EventReader implements Disposable {
  readonly #broadcast: Broadcast<FlowEvent>;
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
    this.#broadcast = new Broadcast(() => {
      const wanted = this.#broadcast.wants('trace');
      if (wanted !== traced) onTraced((traced = wanted));
    });
    const take: RecordReader = (data, offset, length) => {
      if (this.#broadcast.size === 0) return;
      const event = decodeEvent(data, offset, length, bootTime);
      if (event === undefined) this.#unknown++;
      else this.#broadcast.publish(event);
    };
    this.#buffer = RingBuffer.open(fd, take, { gatherMs: GATHER_MS });
  }

  /** As {@link Broadcast.subscribe}, to events of some types. */
  subscribe(capacity: number, types?: ReadonlySet<string>): Subscription<FlowEvent> {
    if (types === undefined) return this.#broadcast.subscribe(capacity);
    return this.#broadcast.subscribe(
      capacity,
      ({ type }) => types.has(type),
      (type) => types.has(type),
    );
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
