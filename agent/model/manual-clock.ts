import type { Clock } from './clock.ts';

/** A clock that stands still until a test moves it. */
export class ManualClock implements Clock {
  #now: number;
  #timers: { at: number; fn: () => void }[] = [];

  constructor(now = 0) {
    this.#now = now;
  }

  now(): number {
    return this.#now;
  }

  after(ms: number, fn: () => void): () => void {
    const timer = { at: this.#now + ms, fn };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  /** When the next timer is due; undefined when none is set. */
  next(): number | undefined {
    return this.#timers.length === 0 ? undefined : Math.min(...this.#timers.map((timer) => timer.at));
  }

  /**
   * Moves time on by `ms`, calling every timer that falls due, in order. Between two timers all promises that can
   * settle without time are given the chance to.
   */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (let due = this.next(); due !== undefined && due <= end; due = this.next()) {
      this.#now = Math.max(this.#now, due);
      const ready = this.#timers.filter((timer) => timer.at === due);
      this.#timers = this.#timers.filter((timer) => timer.at !== due);
      for (const { fn } of ready) fn();
      await settle();
    }
    this.#now = end;
    await settle();
  }
}

function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
