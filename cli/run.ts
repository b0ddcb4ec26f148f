import { CommanderError } from 'commander';
import { Runner, socketPath } from './context.ts';
import { describeFault, EXIT, exitCodeOf } from './fault.ts';
import { buildProgram } from './program.ts';
import type { Terminal } from './terminal.ts';

/** Runs one command line and returns its exit code. Never throws what a person caused. */
export async function run(words: readonly string[], terminal: Terminal): Promise<number> {
  const runner = new Runner(terminal);
  const program = buildProgram(runner);
  try {
    await program.parseAsync(words, { from: 'user' });
    return runner.exitCode;
  } catch (thrown) {
    // Commander has printed its own complaint, or the help that was asked for.
    if (thrown instanceof CommanderError) return helpWasAsked(thrown) ? EXIT.ok : EXIT.usage;
    if (isBrokenPipe(thrown) || terminal.signal.aborted) return EXIT.ok;
    const { socket } = program.opts<{ socket?: string }>();
    terminal.stderr.write(describeFault(thrown, socketPath(terminal, socket)));
    return exitCodeOf(thrown);
  }
}

function helpWasAsked(error: CommanderError): boolean {
  return error.exitCode === 0;
}

function isBrokenPipe(thrown: unknown): boolean {
  return thrown instanceof Error && (thrown as NodeJS.ErrnoException).code === 'EPIPE';
}
