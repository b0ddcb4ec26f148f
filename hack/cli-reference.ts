/** `docs/cli.md`, from the commands' own help. */
import type { Argument, Command, Option } from 'commander';
import { Runner } from '../cli/context.ts';
import { buildProgram } from '../cli/program.ts';

export const CLI_REFERENCE = 'docs/cli.md';

const HEADER = `<!-- Written by \`node hack/check-docs.ts --write\` from the commands of cli/. Do not edit. -->

# \`weir\`, command by command

\`weir\` talks to the agent of its node over a Unix socket: \`--socket\`, or \`WEIR_SOCKET\`, or \`/run/weir/weir.sock\`. Tables
have the columns of cilium-dbg. Where \`-o\` is taken, \`json\` and \`yaml\` print the agent's models, and \`jsonpath='…'\` a
template as kubectl has it: \`weir endpoint list -o jsonpath='{range .items[*]}{.id}{"\\n"}{end}'\`.

Colours appear on a terminal only, and never when \`NO_COLOR\` is set. Exit codes: 0 all is well; 1 it is not; 2 wrong usage;
3 no agent answers. For completion of commands, options, endpoints and maps: \`source <(weir completion bash)\`.
`;

/** Text of the reference. */
export function cliReference(): string {
  const runner = new Runner({
    stdout: process.stdout,
    stderr: process.stderr,
    env: {},
    now: Date.now,
    signal: new AbortController().signal,
  });
  const commands = leaves(buildProgram(runner));
  return `${HEADER}${commands.map(describe).join('')}`;
}

/** The commands that do something, hidden ones left out, in the order of the help. */
function leaves(command: Command): Command[] {
  const children = command
    .createHelp()
    .visibleCommands(command)
    .filter((child) => child.name() !== 'help');
  const acts = children.length === 0 || command.registeredArguments.length > 0;
  return [...(acts ? [command] : []), ...children.flatMap(leaves)];
}

function describe(command: Command): string {
  const path = pathOf(command);
  const words = command.registeredArguments.map(argumentText).join(' ');
  const rows = [
    ...command.registeredArguments.map((argument) => [argumentText(argument), argument.description]),
    ...command.options.map((option) => [option.flags, optionText(option)]),
  ].filter(([, text]) => text !== '');
  const table = rows.map(([name, text]) => `| \`${escape(name!)}\` | ${escape(text!)} |\n`).join('');
  return (
    `\n## ${path}\n\n${sentence(command.description())}\n\n\`\`\`\n${path}${words === '' ? '' : ` ${words}`}` +
    `${command.options.length > 0 ? ' [options]' : ''}\n\`\`\`\n${table === '' ? '' : `\n| | |\n|---|---|\n${table}`}`
  );
}

function pathOf(command: Command): string {
  return command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`;
}

function argumentText(argument: Argument): string {
  const name = `${argument.name()}${argument.variadic ? '...' : ''}`;
  return argument.required ? `<${name}>` : `[${name}]`;
}

function optionText(option: Option): string {
  return option.argChoices === undefined
    ? option.description
    : `${option.description}: ${option.argChoices.join(', ')}`;
}

const escape = (text: string): string => text.replaceAll('|', '\\|');

const sentence = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
