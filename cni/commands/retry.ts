import { isFault } from './fault.ts';
import type { Runtime } from './runtime.ts';

const FIRST_PAUSE_MS = 20;
const LONGEST_PAUSE_MS = 500;

/**
 * Repeats `attempt` while the agent is not there, starts, or dies in between, until `deadline` (milliseconds since the
 * epoch). `attempt` gets the time that is left, in milliseconds.
 *
 * @throws what the last attempt threw.
 */
export async function untilAgentAnswers<T>(
  runtime: Runtime,
  deadline: number,
  attempt: (leftMs: number) => Promise<T>,
  isTransient: (thrown: unknown) => boolean = isAgentAway,
): Promise<T> {
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
    try {
      return await attempt(Math.max(1, deadline - runtime.now()));
    } catch (error) {
      const late = runtime.now() + pause >= deadline;
      if (!isTransient(error) || late || runtime.isTerminated()) throw error;
    }
    await runtime.sleep(pause);
  }
}

function isAgentAway(thrown: unknown): boolean {
  return isFault(thrown, 'AGENT_UNREACHABLE', 'AGENT_STARTING', 'AGENT_LOST');
}
