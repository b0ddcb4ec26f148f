/** Work by key: what is added again before it is done is done once, what fails is tried again later, and no faster than allowed. */
import { delay, retryDelay } from '../agent/k8s/apiserver/retry.ts';
import { errorText } from '../agent/model/errors.ts';
import type { DutyContext } from './duty.ts';

export interface WorkQueueOptions {
  /** Keys a second, in the long run. */
  readonly perSecond: number;
  /** Keys at once after a quiet time. */
  readonly burst: number;
}

export class WorkQueue {
  readonly #context: DutyContext;
  readonly #name: string;
  readonly #work: (key: string) => Promise<void>;
  readonly #options: WorkQueueOptions;
  readonly #keys = new Set<string>();
  readonly #failures = new Map<string, number>();
  #wake: (() => void) | undefined;
  #tokens: number;
  #filled: number;

  constructor(context: DutyContext, name: string, options: WorkQueueOptions, work: (key: string) => Promise<void>) {
    this.#context = context;
    this.#name = name;
    this.#options = options;
    this.#work = work;
    this.#tokens = options.burst;
    this.#filled = context.clock.now();
  }

  get size(): number {
    return this.#keys.size;
  }

  add(key: string): void {
    this.#keys.add(key);
    this.#wake?.();
  }

  /** Works until the signal, one key after another. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => this.#wake?.());
    const stopped = (): boolean => signal.aborted;
    while (!stopped()) {
      const [key] = this.#keys;
      if (key === undefined) await new Promise<void>((resolve) => (this.#wake = resolve));
      else {
        await this.#turn(signal);
        if (!stopped() && this.#keys.delete(key)) await this.#do(key, signal);
      }
    }
  }

  async #do(key: string, signal: AbortSignal): Promise<void> {
    const { clock, logger, metrics, random } = this.#context;
    try {
      await this.#work(key);
      this.#failures.delete(key);
      metrics.runs.inc({ duty: this.#name, outcome: 'success' });
    } catch (error) {
      if (signal.aborted) return;
      const failures = (this.#failures.get(key) ?? 0) + 1;
      this.#failures.set(key, failures);
      metrics.runs.inc({ duty: this.#name, outcome: 'failure' });
      logger.warn({ duty: this.#name, object: key }, `failed, and is tried again: ${errorText(error)}`);
      const cancel = clock.after(retryDelay(error, failures, random()), () => this.add(key));
      signal.addEventListener('abort', cancel);
    }
  }

  /** Waits for this key's turn. */
  async #turn(signal: AbortSignal): Promise<void> {
    const { clock } = this.#context;
    const { perSecond, burst } = this.#options;
    const now = clock.now();
    this.#tokens = Math.min(burst, this.#tokens + ((now - this.#filled) / 1000) * perSecond) - 1;
    this.#filled = now;
    if (this.#tokens < 0) await delay(clock, (-this.#tokens / perSecond) * 1000, signal);
  }
}
