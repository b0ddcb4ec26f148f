/** What an operator does for the cluster while it leads. */
import type { Logger } from 'pino';
import type { ApiServer } from '../agent/k8s/apiserver/client.ts';
import { delay, retryDelay } from '../agent/k8s/apiserver/retry.ts';
import type { Clock } from '../agent/model/clock.ts';
import { errorText } from '../agent/model/errors.ts';
import type { OperatorMetrics } from './metrics.ts';

/** What every duty works with. */
export interface DutyContext {
  readonly server: ApiServer;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: OperatorMetrics;
  /** A number in [0, 1), as Math.random gives. */
  readonly random: () => number;
}

export interface Duty {
  readonly name: string;
  /** Runs until the signal, and never rejects. After the signal nothing more is written. */
  run(signal: AbortSignal): Promise<void>;
}

/** Does `work` every `intervalMs`, and sooner again when it failed. The first time is at once. */
export async function periodically(
  { clock, logger, metrics, random }: DutyContext,
  name: string,
  intervalMs: number,
  signal: AbortSignal,
  work: () => Promise<void>,
): Promise<void> {
  let failures = 0;
  const stopped = (): boolean => signal.aborted;
  while (!stopped()) {
    let wait = intervalMs;
    try {
      await work();
      failures = 0;
      metrics.runs.inc({ duty: name, outcome: 'success' });
    } catch (error) {
      if (stopped()) return;
      failures++;
      metrics.runs.inc({ duty: name, outcome: 'failure' });
      logger.warn({ duty: name }, `failed, and is tried again: ${errorText(error)}`);
      wait = Math.min(intervalMs, retryDelay(error, failures, random()));
    }
    await delay(clock, wait, signal);
  }
}
