import type { Clock } from '../model/clock.ts';
import { backoffDelay, DEFAULT_BACKOFF, type BackoffOptions } from './backoff.ts';
import { applyBisecting } from './bisect.ts';
import type { ObjectStatus, ObjectType, Target } from './target.ts';

export interface ReconcilerOptions<T, K> {
  readonly target: Target<T, K>;
  readonly type: ObjectType<T, K>;
  readonly clock: Clock;
  /** A number in [0, 1): Math.random, or a test's. */
  readonly random: () => number;
  readonly backoff?: BackoffOptions;
  /** How long changes are gathered before they are applied together; 0 is the next turn of the clock. */
  readonly coalesceMs?: number;
  /** Hears of every failure of an object; `attempts` tells the first from the rest. */
  readonly onFailure?: (key: K, status: ObjectStatus & { state: 'failed' }) => void;
}

interface Failure {
  readonly attempts: number;
  readonly retryAt: number;
  readonly error: unknown;
}

/** How many calls may fail in one round before the rest waits for the next. */
const FAILURES_PER_ROUND = 64;

/**
 * Brings a {@link Target} from what it holds to what is wanted, and keeps trying. Callers say what they want and go on;
 * changes that follow one another quickly become one batch, a change that is taken back in time costs nothing, and an
 * object that fails is retried with backoff without holding up the others.
 */
export class Reconciler<T, K> {
  readonly #options: ReconcilerOptions<T, K>;
  readonly #backoff: BackoffOptions;
  readonly #desired = new Map<string, T>();
  /**
   * What the target holds where that is not what is wanted; undefined is nothing. Of all other keys, but those that are
   * uncertain, it holds what is wanted: most of the time there is one entry for an object, not two.
   */
  readonly #differing = new Map<string, T | undefined>();
  /** Keys that the target may or may not hold. */
  readonly #uncertain = new Map<string, K>();
  /** Keys to look at in the next round. */
  readonly #dirty = new Map<string, K>();
  readonly #failures = new Map<string, Failure>();
  #idle: (() => void)[] = [];
  #wakeAt = Infinity;
  #cancelWake: (() => void) | undefined;
  #work: Promise<void> = Promise.resolve();
  #running = 0;
  #closed = false;

  constructor(options: ReconcilerOptions<T, K>) {
    this.#options = options;
    this.#backoff = options.backoff ?? DEFAULT_BACKOFF;
  }

  /** The objects wanted at present. */
  desired(): IterableIterator<T> {
    return this.#desired.values();
  }

  /** Wants `object`, in place of any with the same key. */
  set(object: T): void {
    const key = this.#options.type.keyOf(object);
    const text = this.#options.type.keyText(key);
    const before = this.#desired.get(text);
    if (before !== undefined && this.#options.type.equals(before, object)) return;
    this.#differs(text, before);
    this.#desired.set(text, object);
    this.#touch(text, key);
  }

  /** Wants no object of that key. */
  delete(key: K): void {
    const text = this.#options.type.keyText(key);
    const before = this.#desired.get(text);
    if (before === undefined) return;
    this.#differs(text, before);
    this.#desired.delete(text);
    this.#touch(text, key);
  }

  /** Where the object of that key stands; undefined when it is neither wanted nor still to be removed. */
  status(key: K): ObjectStatus | undefined {
    const text = this.#options.type.keyText(key);
    const failure = this.#failures.get(text);
    if (failure !== undefined) return { state: 'failed', ...failure };
    if (this.#dirty.has(text)) return { state: 'pending' };
    return this.#desired.has(text) ? { state: 'done' } : undefined;
  }

  /** How many objects stand in each state. */
  counts(): { readonly done: number; readonly pending: number; readonly failed: number } {
    const failed = this.#failures.size;
    const pending = [...this.#dirty.keys()].filter((text) => !this.#failures.has(text)).length;
    const open = new Set([...this.#dirty.keys(), ...this.#failures.keys()]);
    const done = [...this.#desired.keys()].filter((text) => !open.has(text)).length;
    return { done, pending, failed };
  }

  /**
   * Removes from the target whatever is not wanted, known or not, and writes again all that is: what a restarted agent
   * does, and what repairs a target that others changed.
   *
   * @throws what the target's prune throws; the objects themselves are retried in any case
   */
  async resync(): Promise<void> {
    for (const [text, object] of this.#desired) this.#touchUncertain(text, this.#options.type.keyOf(object));
    await this.prune();
  }

  /**
   * Removes from the target whatever is not wanted, known or not, when all that is due has been tried.
   *
   * @throws what the target's prune throws
   */
  async prune(): Promise<void> {
    await this.#exclusively(async () => {
      await this.#round();
      await this.#options.target.prune([...this.#desired.values()]);
    });
  }

  /** Applies everything that is due now and resolves when that was tried; failures are left to their retries. */
  async flush(): Promise<void> {
    await this.#exclusively(() => this.#round());
  }

  /** Resolves when the target holds exactly what is wanted. */
  settled(): Promise<void> {
    if (this.#dirty.size === 0 && this.#running === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  /** Stops; the target stays as it is. Resolves when nothing is under way any more. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelWake?.();
    await this.#work;
  }

  #touch(text: string, key: K): void {
    this.#failures.delete(text);
    this.#dirty.set(text, key);
    this.#wake(this.#options.clock.now() + (this.#options.coalesceMs ?? 0));
  }

  /** What is wanted is about to change from `before`, which the target holds unless it is noted otherwise. */
  #differs(text: string, before: T | undefined): void {
    if (!this.#differing.has(text) && !this.#uncertain.has(text)) this.#differing.set(text, before);
  }

  /** The target holds `held` now. */
  #holds(text: string, held: T | undefined): void {
    if (this.#desired.get(text) === held) this.#differing.delete(text);
    else this.#differing.set(text, held);
  }

  #touchUncertain(text: string, key: K): void {
    this.#uncertain.set(text, key);
    this.#differing.delete(text);
    this.#touch(text, key);
  }

  /** Plans a round at `time`, unless one is planned sooner. */
  #wake(time: number): void {
    if (this.#closed || time >= this.#wakeAt) return;
    this.#cancelWake?.();
    this.#wakeAt = time;
    this.#cancelWake = this.#options.clock.after(Math.max(0, time - this.#options.clock.now()), () => {
      this.#wakeAt = Infinity;
      this.#cancelWake = undefined;
      void this.flush();
    });
  }

  /** Runs `work` after all that was asked for before it, so that the target never sees two calls at once. */
  #exclusively(work: () => Promise<void>): Promise<void> {
    this.#running++;
    const run = this.#work.then(work).finally(() => {
      this.#running--;
      this.#afterRound();
    });
    this.#work = run.then(
      () => undefined,
      () => undefined, // the caller of `exclusively` holds `run` and hears of it there
    );
    return run;
  }

  async #round(): Promise<void> {
    if (this.#closed) return;
    const updates: { text: string; object: T }[] = [];
    const deletes: { text: string; key: K }[] = [];
    for (const [text, key] of this.#due()) {
      this.#dirty.delete(text);
      const wanted = this.#desired.get(text);
      if (this.#isRealised(text, wanted)) {
        this.#failures.delete(text);
        this.#differing.delete(text);
      } else if (wanted === undefined) deletes.push({ text, key });
      else updates.push({ text, object: wanted });
    }
    // Updates first: what replaces an object stands before the old one goes.
    await this.#applyUpdates(updates);
    await this.#applyDeletes(deletes);
  }

  #due(): [string, K][] {
    const now = this.#options.clock.now();
    return [...this.#dirty].filter(([text]) => (this.#failures.get(text)?.retryAt ?? 0) <= now);
  }

  #isRealised(text: string, wanted: T | undefined): boolean {
    if (this.#uncertain.has(text)) return false;
    if (!this.#differing.has(text)) return true;
    const held = this.#differing.get(text);
    if (wanted === undefined || held === undefined) return wanted === held;
    return this.#options.type.equals(held, wanted);
  }

  async #applyUpdates(updates: readonly { text: string; object: T }[]): Promise<void> {
    const { target, type } = this.#options;
    const failed = await applyBisecting(
      updates,
      (part) => target.update(part.map(({ object }) => object)),
      FAILURES_PER_ROUND,
    );
    const lost = new Map(failed.map(([{ text }, error]) => [text, error]));
    for (const { text, object } of updates) {
      if (lost.has(text)) this.#fail(text, type.keyOf(object), lost.get(text));
      else {
        this.#holds(text, object);
        this.#succeed(text);
      }
    }
  }

  async #applyDeletes(deletes: readonly { text: string; key: K }[]): Promise<void> {
    const { target } = this.#options;
    const failed = await applyBisecting(
      deletes,
      (part) => target.delete(part.map(({ key }) => key)),
      FAILURES_PER_ROUND,
    );
    const lost = new Map(failed.map(([{ text }, error]) => [text, error]));
    for (const { text, key } of deletes) {
      if (lost.has(text)) this.#fail(text, key, lost.get(text));
      else {
        this.#holds(text, undefined);
        this.#succeed(text);
      }
    }
  }

  #succeed(text: string): void {
    this.#uncertain.delete(text);
    this.#failures.delete(text);
  }

  #fail(text: string, key: K, error: unknown): void {
    this.#differing.delete(text);
    this.#uncertain.set(text, key);
    const attempts = (this.#failures.get(text)?.attempts ?? 0) + 1;
    const retryAt = this.#options.clock.now() + backoffDelay(attempts, this.#backoff, this.#options.random());
    // A key that was changed while its operation ran is tried with its new content at once.
    if (!this.#dirty.has(text)) this.#failures.set(text, { attempts, retryAt, error });
    this.#dirty.set(text, key);
    this.#options.onFailure?.(key, { state: 'failed', attempts, retryAt, error });
  }

  #afterRound(): void {
    if (this.#dirty.size === 0) {
      if (this.#running > 0) return;
      const idle = this.#idle;
      this.#idle = [];
      for (const resolve of idle) resolve();
      return;
    }
    let next = Infinity;
    for (const text of this.#dirty.keys()) next = Math.min(next, this.#failures.get(text)?.retryAt ?? 0);
    this.#wake(Math.max(next, this.#options.clock.now()));
  }
}
