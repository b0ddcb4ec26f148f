export interface WarmPoolOptions<T> {
  /** How many to keep. */
  readonly size: number;
  readonly make: () => Promise<T>;
  /** One could not be made. Whoever needs one then makes it himself, and hears what is wrong. */
  readonly onError: (error: unknown) => void;
}

/** What takes long to make, kept ready. It is made one after the other, while there is nothing better to do. */
export class WarmPool<T extends Disposable> implements Disposable {
  readonly #options: WarmPoolOptions<T>;
  readonly #ready: T[] = [];
  #filling: Promise<void> | undefined;
  #closed = false;

  constructor(options: WarmPoolOptions<T>) {
    this.#options = options;
  }

  /** How many stand. */
  get ready(): number {
    return this.#ready.length;
  }

  /** One of them, which is the caller's from now on; undefined when there is none. */
  take(): T | undefined {
    return this.#ready.pop();
  }

  /** Fills the pool. Resolves when it is full, or `isBusy` said that there is something better to do, or one failed. */
  fill(isBusy: () => boolean): Promise<void> {
    this.#filling ??= this.#fill(isBusy).finally(() => (this.#filling = undefined));
    return this.#filling;
  }

  async #fill(isBusy: () => boolean): Promise<void> {
    while (this.#ready.length < this.#options.size && !isBusy() && !this.#closed) {
      try {
        this.#ready.push(await this.#options.make());
      } catch (error) {
        this.#options.onError(error);
        break;
      }
    }
    if (this.#closed) this.#empty();
  }

  #empty(): void {
    for (const one of this.#ready.splice(0)) one[Symbol.dispose]();
  }

  /** Gives them all up. One under way ends by itself. */
  [Symbol.dispose](): void {
    this.#closed = true;
    this.#empty();
  }
}
