/** What a fault looks like to the person at the terminal, and to the script that called. Pure. */
import { errorText, WeirError } from '../agent/model/errors.ts';

/** Exit codes of `weir`. */
export const EXIT = {
  ok: 0,
  /** The agent refused, or what was asked for is not well. */
  failed: 1,
  /** The command line is wrong. */
  usage: 2,
  /** No agent answers on the socket. */
  unreachable: 3,
} as const;

/** The command line asks for something that makes no sense. */
export class UsageError extends WeirError {
  constructor(message: string, remedy = 'add --help for usage') {
    super('REQUEST_INVALID', message, { remedy });
  }
}

export function exitCodeOf(thrown: unknown): number {
  if (!(thrown instanceof WeirError)) return EXIT.failed;
  if (thrown.code === 'AGENT_UNREACHABLE') return EXIT.unreachable;
  return thrown instanceof UsageError ? EXIT.usage : EXIT.failed;
}

/** Lines for standard error. */
export function describeFault(thrown: unknown, socket: string): string {
  if (!(thrown instanceof WeirError)) return `Error: ${errorText(thrown)}\n`;
  const where = [thrown.object, thrown.field].filter((part) => part !== undefined).join(': ');
  const lines = [`Error: ${where === '' ? '' : `${where}: `}${thrown.message}`];
  if (thrown.code === 'AGENT_UNREACHABLE') {
    lines.push(`Is the agent running, and is ${socket} its socket?`, `Name another with --socket or WEIR_SOCKET.`);
  } else lines.push(`Remedy: ${thrown.remedy}`);
  return `${lines.join('\n')}\n`;
}
