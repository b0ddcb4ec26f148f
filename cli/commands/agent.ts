import { Command } from 'commander';
import type { DaemonConfiguration, PolicyEnforcement, StatusResponse } from '../../agent/api/models.ts';
import { WeirError } from '../../agent/model/errors.ts';
import { VERSION } from '../../agent/model/version.ts';
import { withOutput, type Context, type Runner } from '../context.ts';
import { formatData } from '../output/format.ts';
import { endpointRows, optionRows } from '../tables/endpoint.ts';
import { statusText } from '../tables/status.ts';
import { parseAssignments } from './assignments.ts';

/** Name under which `weir config` shows and takes the policy enforcement mode, as cilium-dbg does. */
const ENFORCEMENT = 'PolicyEnforcement';

/** `weir config` */
export function configCommand(runner: Runner): Command {
  const get = withOutput(new Command('get')).description('show one option').argument('<name>', 'name of the option');
  const command = withOutput(new Command('config'))
    .description("show the agent's options, or change them")
    .argument('[options...]', 'NAME=VALUE')
    .option('-a, --all', 'also those that cannot be changed while the agent runs');
  runner.action<{ all?: true }>(command, async (context, changes, { all }) => {
    if (changes.length > 0) await changeConfig(context, changes);
    else {
      const config = await context.client.config();
      await context.print(config, () => configText(context, config, all === true));
    }
  });
  return command.addCommand(
    runner.action(get, async (context, [name]) => {
      const config = await context.client.config();
      const value = { ...readOnly(config), ...readWrite(config) }[name!];
      if (value === undefined) {
        throw new WeirError('REQUEST_INVALID', `there is no option ${name!}`, {
          remedy: 'list them with `weir config --all`',
        });
      }
      await context.print({ [name!]: value }, () => `${value}\n`);
    }),
  );
}

function readWrite({ status }: DaemonConfiguration): Readonly<Record<string, string>> {
  const enforcement = status?.realized?.['policy-enforcement'];
  return { ...status?.realized?.options, ...(enforcement === undefined ? {} : { [ENFORCEMENT]: enforcement }) };
}

function readOnly({ status }: DaemonConfiguration): Readonly<Record<string, string>> {
  const map = Object.entries(status?.daemonConfigurationMap ?? {}).map(([name, value]): [string, string] => [
    name,
    typeof value === 'string' ? value : JSON.stringify(value),
  ]);
  return { ...Object.fromEntries(map), ...status?.immutable };
}

function configText(context: Context, config: DaemonConfiguration, all: boolean): string {
  const changeable = context.table(optionRows(readWrite(config)));
  if (!all) return changeable;
  return `#### Read-only configurations ####\n${context.table(optionRows(readOnly(config)))}\n#### Read-write configurations ####\n${changeable}`;
}

async function changeConfig(context: Context, changes: readonly string[]): Promise<void> {
  const { [ENFORCEMENT]: enforcement, ...options } = parseAssignments(changes);
  await context.client.patchConfig({
    ...(Object.keys(options).length === 0 ? {} : { options }),
    // The agent is who says which modes there are.
    ...(enforcement === undefined ? {} : { 'policy-enforcement': enforcement as PolicyEnforcement }),
  });
  await context.write('Configuration updated\n');
}

/** `weir version` */
export function versionCommand(runner: Runner): Command {
  const command = withOutput(new Command('version'))
    .description('show the versions of this program and of the agent')
    .option('--client', 'only of this program');
  return runner.action<{ client?: true }>(command, async (context, _words, { client }) => {
    const node = `node ${process.version} ${process.platform}/${process.arch}`;
    const daemon = client === true ? undefined : await agentVersion(context);
    const data = { client: { version: VERSION, node: process.version }, ...(daemon === undefined ? {} : { daemon }) };
    await context.print(data, () => {
      return `Client: ${VERSION} ${node}\n${daemon === undefined ? '' : `Daemon: ${daemon.version}\n`}`;
    });
  });
}

/** An agent that does not run has no version: that is worth saying, not an error. */
async function agentVersion(context: Context): Promise<{ readonly version: string }> {
  try {
    return { version: (await context.client.health(true)).version ?? 'unknown' };
  } catch (thrown) {
    if (thrown instanceof WeirError) return { version: `unknown (${thrown.message})` };
    throw thrown;
  }
}

/** `weir debuginfo`: everything that a report of a fault should hold. */
export function debuginfoCommand(runner: Runner): Command {
  const command = withOutput(new Command('debuginfo')).description('show all that the agent knows, for bug reports');
  return runner.action(command, async (context) => {
    const info = await context.client.debugInfo();
    await context.print(info, async () => {
      const status: StatusResponse = info['cilium-status'] ?? {};
      const endpoints = info['endpoint-list'] ?? [];
      const sections: readonly (readonly [string, string])[] = [
        ['Weir version', `${info['cilium-version'] ?? 'unknown'}\n`],
        ['Kernel version', `${info['kernel-version'] ?? 'unknown'}\n`],
        ['Status', statusText(status, { verbose: true, now: context.terminal.now() }, context.paint)],
        ['Endpoint list', context.table(endpointRows(endpoints))],
        ['Endpoints', await formatData(endpoints, { kind: 'json' })],
        ['Policy', `${info.policy?.policy ?? '[]'}\nRevision: ${info.policy?.revision ?? 0}\n`],
        ['Environment variables', (info['environment-variables'] ?? []).map((line) => `${line}\n`).join('')],
        ...Object.entries(info.subsystem ?? {}).map(([name, text]): [string, string] => [name, `${text}\n`]),
        ['Memory map', info['cilium-memory-map'] ?? ''],
      ];
      return `# Weir debug information\n${sections.map(section).join('')}`;
    });
  });
}

const section = ([title, text]: readonly [string, string]): string =>
  text === '' ? '' : `\n#### ${title}\n\n\`\`\`\n${text.trimEnd()}\n\`\`\`\n`;
