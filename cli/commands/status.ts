import { Command } from 'commander';
import { withOutput, type Runner } from '../context.ts';
import { EXIT } from '../fault.ts';
import { statusFault, statusText } from '../tables/status.ts';

interface StatusOptions {
  readonly verbose?: true;
  readonly brief?: true;
}

/** `weir status`: exits with 1 when something is not well. */
export function statusCommand(runner: Runner): Command {
  const command = withOutput(new Command('status'))
    .description('show the state of the agent')
    .option('-v, --verbose', 'show every address, controller and map')
    .option('--brief', 'print OK, or the first thing that is not well');
  return runner.action<StatusOptions>(command, async (context, _words, options) => {
    const status = await context.client.health(options.brief === true);
    const fault = statusFault(status);
    if (fault !== undefined) context.exitCode = EXIT.failed;
    await context.print(status, () => {
      if (options.brief === true) return fault === undefined ? 'OK\n' : `error in ${fault}\n`;
      const now = context.terminal.now();
      return statusText(status, { verbose: options.verbose === true, now }, context.paint);
    });
  });
}
