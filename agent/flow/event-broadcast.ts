import { Broadcast, type Missed, type Subscription } from './broadcast.ts';
import { EventQueue, typeOfRecord, type EventBatch, type EventRecord } from './event-batch.ts';

export type EventSubscription = Subscription<EventRecord, EventBatch>;

/** Gives records of `weir_events` to every subscriber that wants their type, undecoded. */
export class EventBroadcast {
  readonly #broadcast: Broadcast<EventRecord, EventBatch>;
  /** What is shown to subscribers: one object for all records, as there are many. */
  readonly #record: { -readonly [K in keyof EventRecord]: EventRecord[K] } = {
    ...{ data: new DataView(new ArrayBuffer(0)), offset: 0, type: 'drop' },
  };

  /**
   * @param bootTime milliseconds since the epoch at which CLOCK_MONOTONIC was 0
   * @param onListeners hears that one came, or left
   */
  constructor(bootTime: number, onListeners?: () => void) {
    this.#broadcast = new Broadcast(() => new EventQueue(bootTime), onListeners);
  }

  /** As {@link Broadcast.size}. */
  get size(): number {
    return this.#broadcast.size;
  }

  /** As {@link Broadcast.subscribe}, to events of some types. */
  subscribe(capacity: number, types?: ReadonlySet<string>): EventSubscription {
    if (types === undefined) return this.#broadcast.subscribe(capacity);
    return this.#broadcast.subscribe(
      capacity,
      ({ type }) => types.has(type),
      (type) => types.has(type),
    );
  }

  /** Whether somebody wants events of that type. */
  wants(type: string): boolean {
    return this.#broadcast.wants(type);
  }

  /** @returns false for a record of an unknown kind, which nobody gets */
  publish(data: DataView, offset: number, length: number): boolean {
    const type = typeOfRecord(data, offset, length);
    if (type === undefined) return false;
    const record = this.#record;
    record.data = data;
    record.offset = offset;
    record.type = type;
    this.#broadcast.publish(record);
    return true;
  }

  /** As {@link Broadcast.miss}. */
  miss(missed: Missed): void {
    this.#broadcast.miss(missed);
  }

  /** As {@link Broadcast.close}. */
  close(): void {
    this.#broadcast.close();
  }
}
