/** The tree of commands. */
import { Command } from 'commander';
import { configCommand, debuginfoCommand, versionCommand } from './commands/agent.ts';
import { bpfCommand, mapCommand } from './commands/bpf.ts';
import { clusterCommand } from './commands/cluster.ts';
import { endpointCommand } from './commands/endpoint.ts';
import { fqdnCommand } from './commands/fqdn.ts';
import { healthCommand } from './commands/health.ts';
import { identityCommand, ipCommand } from './commands/identity.ts';
import { nodeCommand } from './commands/node.ts';
import { monitorCommand } from './commands/monitor.ts';
import { policyCommand } from './commands/policy.ts';
import { serviceCommand } from './commands/service.ts';
import { statusCommand } from './commands/status.ts';
import { sysdumpCommand } from './commands/sysdump.ts';
import { completeCommand, completionCommand } from './completion.ts';
import type { Runner } from './context.ts';

/** Every command, bound to `runner`. */
export function buildProgram(runner: Runner): Command {
  const program = new Command('weir')
    .description('look at, and change, what weir-agent enforces on this node')
    .option('--socket <path>', 'socket of the agent (env: WEIR_SOCKET; default: /run/weir/weir.sock)')
    .addHelpText('after', '\nExit codes: 0 all is well, 1 it is not, 2 wrong usage, 3 no agent answers.')
    .addCommand(statusCommand(runner))
    .addCommand(endpointCommand(runner))
    .addCommand(identityCommand(runner))
    .addCommand(ipCommand(runner))
    .addCommand(nodeCommand(runner))
    .addCommand(healthCommand(runner))
    .addCommand(policyCommand(runner))
    .addCommand(serviceCommand(runner))
    .addCommand(fqdnCommand(runner))
    .addCommand(monitorCommand(runner))
    .addCommand(bpfCommand(runner))
    .addCommand(mapCommand(runner))
    .addCommand(clusterCommand(runner))
    .addCommand(configCommand(runner))
    .addCommand(versionCommand(runner))
    .addCommand(debuginfoCommand(runner))
    .addCommand(sysdumpCommand(runner))
    .addCommand(completionCommand(runner));
  program.addCommand(completeCommand(runner, program), { hidden: true });
  forAll(program, (command) => {
    command.exitOverride().configureOutput({
      writeOut: (text) => void runner.terminal.stdout.write(text),
      writeErr: (text) => void runner.terminal.stderr.write(text),
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    });
    command.showHelpAfterError('(add --help for usage)').showSuggestionAfterError();
  });
  return program;
}

function forAll(command: Command, visit: (command: Command) => void): void {
  visit(command);
  for (const child of command.commands) forAll(child, visit);
}
