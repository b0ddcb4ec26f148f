/**
 * Every resource that a test makes carries the run's name, which holds the pid and start time of the process that made
 * it: runs never collide, and what a killed run left behind is recognised as an orphan and swept by the next.
 */
import { readFileSync } from 'node:fs';

/** First part of every name that a test run makes. */
export const PREFIX = 'weirt';

const RUN_NAME = new RegExp(`^${PREFIX}-(\\d+)-(\\d+)`);
/** Names that the unit tests on a real kernel give, which know nothing of this harness: they hold the pid alone. */
const UNIT_TEST_NAME = /^weir-test-(\d+)-[0-9a-f]+$/;

/** Start time of a process in clock ticks since boot (proc(5), field 22), or undefined when there is none such. */
function startTicks(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT' || (error as NodeJS.ErrnoException).code === 'ESRCH')
      return undefined;
    throw error;
  }
}

/** Name of this run: `weirt-<pid>-<start>`. */
export const runName = `${PREFIX}-${process.pid}-${startTicks(process.pid)!}`;

let counter = 0;

/** A name that no other run and no other call gives: `weirt-<pid>-<start>-<n>-<what>`. */
export function uniqueName(what: string): string {
  return `${runName}-${++counter}-${what}`;
}

/** Whether `name` belongs to a run whose process is gone. */
export function isOrphan(name: string): boolean {
  const unit = UNIT_TEST_NAME.exec(name);
  if (unit !== null) return startTicks(Number(unit[1])) === undefined;
  const match = RUN_NAME.exec(name);
  return match !== null && startTicks(Number(match[1])) !== match[2];
}
