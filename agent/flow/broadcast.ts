/** What a subscriber gets at a time. */
export interface Batch<T> {
  readonly events: readonly T[];
  /** How many events were dropped, since the batch before, because this subscriber was too slow. */
  readonly lost: number;
}

/**
 * One subscriber's share of a {@link Broadcast}. Iterate over it for batches of what has gathered; leaving the loop, or
 * `close`, ends the subscription.
 */
export class Subscription<T> implements AsyncIterable<Batch<T>>, Disposable {
  readonly #capacity: number;
  readonly #wants: (event: T) => boolean;
  readonly #onClose: (subscription: Subscription<T>) => void;
  #events: T[] = [];
  #lost = 0;
  #wake: (() => void) | undefined;
  #closed = false;

  constructor(capacity: number, wants: (event: T) => boolean, onClose: (subscription: Subscription<T>) => void) {
    this.#capacity = capacity;
    this.#wants = wants;
    this.#onClose = onClose;
  }

  /** Takes in an event, or counts it as lost when the queue is full. Never waits: the kernel does not either. */
  offer(event: T): void {
    if (this.#closed || !this.#wants(event)) return;
    if (this.#events.length >= this.#capacity) this.#lost++;
    else this.#events.push(event);
    this.#wake?.();
  }

  /** Counts events that were lost before they reached any queue. */
  miss(count: number): void {
    if (this.#closed || count === 0) return;
    this.#lost += count;
    this.#wake?.();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#events = [];
    this.#onClose(this);
    this.#wake?.();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Batch<T>, void, undefined> {
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

  async #next(): Promise<Batch<T> | undefined> {
    while (!this.#closed && this.#events.length === 0 && this.#lost === 0) {
      await new Promise<void>((resolve) => (this.#wake = resolve));
      this.#wake = undefined;
    }
    if (this.#closed) return undefined;
    const batch = { events: this.#events, lost: this.#lost };
    this.#events = [];
    this.#lost = 0;
    return batch;
  }
}

/** Gives each event to every subscriber. A slow subscriber loses events of its own and holds up nobody. */
export class Broadcast<T> {
  readonly #subscriptions = new Set<Subscription<T>>();

  /** How many listen at present. */
  get size(): number {
    return this.#subscriptions.size;
  }

  /**
   * @param capacity how many events may wait for this subscriber
   * @param wants which events it wants; all of them when absent
   */
  subscribe(capacity: number, wants: (event: T) => boolean = () => true): Subscription<T> {
    const subscription = new Subscription(capacity, wants, (closed) => this.#subscriptions.delete(closed));
    this.#subscriptions.add(subscription);
    return subscription;
  }

  publish(event: T): void {
    for (const subscription of this.#subscriptions) subscription.offer(event);
  }

  /** Tells everybody that `count` events were lost on the way here. */
  miss(count: number): void {
    for (const subscription of this.#subscriptions) subscription.miss(count);
  }

  /** Ends every subscription. */
  close(): void {
    for (const subscription of [...this.#subscriptions]) subscription.close();
  }
}
