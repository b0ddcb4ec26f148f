/** What a subscriber gets at a time. */
export interface Batch<B> {
  readonly events: B;
  /** How many events were dropped, since the batch before, because this subscriber, or who reads for it, was too slow. */
  readonly lost: number;
  /** How many were left out on purpose, since the batch before, because there were so many. */
  readonly limited: number;
}

/** Events that never came. */
export interface Missed {
  readonly count: number;
  readonly cause: 'lost' | 'limited';
  /** Of which kind they were; any, when absent. */
  readonly kind?: string;
}

/** Where events of a subscriber wait. */
export interface Queue<T, B> {
  readonly size: number;
  push(event: T): void;
  /** All that waits, in order; nothing waits any more. */
  take(): B;
}

/** A queue of the events themselves. */
export class ListQueue<T> implements Queue<T, readonly T[]> {
  #events: T[] = [];

  get size(): number {
    return this.#events.length;
  }

  push(event: T): void {
    this.#events.push(event);
  }

  take(): readonly T[] {
    const events = this.#events;
    this.#events = [];
    return events;
  }
}

/** What makes up a {@link Subscription}. */
interface SubscriptionParts<T, B> {
  readonly queue: Queue<T, B>;
  readonly capacity: number;
  readonly wants: (event: T) => boolean;
  readonly wantsKind: (kind: string) => boolean;
  readonly onClose: (subscription: Subscription<T, B>) => void;
}

/**
 * One subscriber's share of a {@link Broadcast}. Iterate over it for batches of what has gathered; leaving the loop, or
 * `close`, ends the subscription.
 */
export class Subscription<T, B = readonly T[]> implements AsyncIterable<Batch<B>>, Disposable {
  readonly #queue: Queue<T, B>;
  readonly #capacity: number;
  readonly #wants: (event: T) => boolean;
  readonly #wantsKind: (kind: string) => boolean;
  readonly #onClose: (subscription: Subscription<T, B>) => void;
  #missed = { lost: 0, limited: 0 };
  #wake: (() => void) | undefined;
  #closed = false;

  constructor({ queue, capacity, wants, wantsKind, onClose }: SubscriptionParts<T, B>) {
    this.#queue = queue;
    this.#capacity = capacity;
    this.#wants = wants;
    this.#wantsKind = wantsKind;
    this.#onClose = onClose;
  }

  /** Whether it wants events of that kind. */
  wantsKind(kind: string): boolean {
    return this.#wantsKind(kind);
  }

  /** Takes in an event, or counts it as lost when the queue is full. Never waits: the kernel does not either. */
  offer(event: T): void {
    if (this.#closed || !this.#wants(event)) return;
    if (this.#queue.size >= this.#capacity) this.#missed.lost++;
    else this.#queue.push(event);
    this.#wake?.();
  }

  /** Counts events that never reached any queue. */
  miss({ count, cause, kind }: Missed): void {
    if (this.#closed || count === 0 || (kind !== undefined && !this.#wantsKind(kind))) return;
    this.#missed[cause] += count;
    this.#wake?.();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#queue.take();
    this.#onClose(this);
    this.#wake?.();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Batch<B>, void, undefined> {
    try {
      for (;;) {
        const batch = await this.#next();
        if (batch === undefined) return;
        yield batch;
      }
    } finally {
      this.close();
    }
  }

  async #next(): Promise<Batch<B> | undefined> {
    while (!this.#closed && this.#queue.size === 0 && this.#missed.lost + this.#missed.limited === 0) {
      await new Promise<void>((resolve) => (this.#wake = resolve));
      this.#wake = undefined;
    }
    if (this.#closed) return undefined;
    const batch = { events: this.#queue.take(), ...this.#missed };
    this.#missed = { lost: 0, limited: 0 };
    return batch;
  }
}

/** Gives each event to every subscriber. A slow subscriber loses events of its own and holds up nobody. */
export class Broadcast<T, B = readonly T[]> {
  readonly #subscriptions = new Set<Subscription<T, B>>();
  readonly #newQueue: () => Queue<T, B>;
  readonly #onListeners: () => void;

  /**
   * @param newQueue where events wait for one subscriber
   * @param onListeners hears that one came, or left
   */
  constructor(newQueue: () => Queue<T, B>, onListeners: () => void = () => undefined) {
    this.#newQueue = newQueue;
    this.#onListeners = onListeners;
  }

  /** How many listen at present. */
  get size(): number {
    return this.#subscriptions.size;
  }

  /**
   * @param capacity how many events may wait for this subscriber
   * @param wants which events it wants; all of them when absent
   * @param wantsKind of which kinds it wants to hear how many it missed
   */
  subscribe(
    capacity: number,
    wants: (event: T) => boolean = () => true,
    wantsKind: (kind: string) => boolean = () => true,
  ): Subscription<T, B> {
    const onClose = (closed: Subscription<T, B>): void => {
      this.#subscriptions.delete(closed);
      this.#onListeners();
    };
    const subscription = new Subscription({ queue: this.#newQueue(), capacity, wants, wantsKind, onClose });
    this.#subscriptions.add(subscription);
    this.#onListeners();
    return subscription;
  }

  /** Whether somebody wants events of that kind. */
  wants(kind: string): boolean {
    return [...this.#subscriptions].some((subscription) => subscription.wantsKind(kind));
  }

  publish(event: T): void {
    for (const subscription of this.#subscriptions) subscription.offer(event);
  }

  /** Tells everybody of events that did not come this far. */
  miss(missed: Missed): void {
    for (const subscription of this.#subscriptions) subscription.miss(missed);
  }

  /** Ends every subscription. */
  close(): void {
    for (const subscription of [...this.#subscriptions]) subscription.close();
  }
}
