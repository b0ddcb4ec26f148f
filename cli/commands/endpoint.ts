import { Command } from 'commander';
import { withOutput, type Context, type Runner } from '../context.ts';
import { UsageError } from '../fault.ts';
import { formatData } from '../output/format.ts';
import { endpointHealthRows, endpointLogRows, endpointRows, optionRows } from '../tables/endpoint.ts';
import { parseAssignments } from './assignments.ts';

const ID = 'number of the endpoint, or a prefixed id such as pod-name:default/web or container-id:0123abcd';

/** `weir endpoint …` */
export function endpointCommand(runner: Runner): Command {
  return new Command('endpoint')
    .alias('ep')
    .description('look at endpoints and change them')
    .addCommand(listCommand(runner))
    .addCommand(getCommand(runner))
    .addCommand(logCommand(runner))
    .addCommand(healthCommand(runner))
    .addCommand(labelsCommand(runner))
    .addCommand(configCommand(runner))
    .addCommand(regenerateCommand(runner))
    .addCommand(deleteCommand(runner));
}

function listCommand(runner: Runner): Command {
  const command = withOutput(new Command('list'))
    .alias('ls')
    .description('list all endpoints')
    .option('--no-headers', 'leave the headings out');
  return runner.action<{ headers: boolean }>(command, async (context, _words, { headers }) => {
    const endpoints = await context.client.endpoints();
    await context.printTable(endpoints, () => endpointRows(endpoints, headers));
  });
}

function getCommand(runner: Runner): Command {
  const command = withOutput(new Command('get'))
    .description('show all that is known of an endpoint')
    .argument('[id]', ID)
    .option('-l, --labels <labels...>', 'all endpoints that have these labels');
  return runner.action<{ labels?: string[] }>(command, async (context, [id], { labels = [] }) => {
    if ((id === undefined) === (labels.length === 0)) {
      throw new UsageError('name one endpoint, or labels with -l');
    }
    const endpoints = id === undefined ? await context.client.endpoints(labels) : [await context.client.endpoint(id)];
    await context.print(endpoints, () => formatData(endpoints, { kind: 'json' }));
  });
}

function logCommand(runner: Runner): Command {
  const command = withOutput(new Command('log')).description('show what happened to an endpoint, newest first');
  return runner.action(command.argument('<id>', ID), async (context, [id]) => {
    const log = await context.client.endpointLog(id!);
    await context.printTable(log, () => endpointLogRows(log));
  });
}

function healthCommand(runner: Runner): Command {
  const command = withOutput(new Command('health')).description('show how an endpoint is');
  return runner.action(command.argument('<id>', ID), async (context, [id]) => {
    const health = await context.client.endpointHealth(id!);
    await context.printTable(health, () => endpointHealthRows(health));
  });
}

interface LabelOptions {
  readonly add?: string[];
  readonly delete?: string[];
}

function labelsCommand(runner: Runner): Command {
  const command = withOutput(new Command('labels'))
    .description('show the labels of an endpoint, or change those that were given by hand')
    .argument('<id>', ID)
    .option('-a, --add <labels...>', 'labels to add')
    .option('-d, --delete <labels...>', 'labels to take away');
  return runner.action<LabelOptions>(command, async (context, [id], options) => {
    if (options.add !== undefined || options.delete !== undefined) await changeLabels(context, id!, options);
    const labels = await context.client.endpointLabels(id!);
    await context.print(labels, () => {
      const all = labels.status?.['security-relevant'] ?? [];
      return all.length === 0 ? 'no labels\n' : `${all.toSorted().join('\n')}\n`;
    });
  });
}

async function changeLabels(context: Context, id: string, options: LabelOptions): Promise<void> {
  const before = await context.client.endpointLabels(id);
  const user = new Set(before.spec?.user ?? []);
  for (const label of options.add ?? []) user.add(label);
  for (const label of options.delete ?? []) {
    if (user.delete(label)) continue;
    throw new UsageError(
      `${label} is not a label that was given to endpoint ${id} by hand`,
      `see the present ones with \`weir endpoint labels ${id} -o yaml\``,
    );
  }
  await context.client.patchEndpointLabels(id, { user: [...user] });
}

function configCommand(runner: Runner): Command {
  const command = withOutput(new Command('config'))
    .description('show the options of an endpoint, or change them')
    .argument('<id>', ID)
    .argument('[options...]', 'NAME=VALUE');
  return runner.action(command, async (context, [id, ...changes]) => {
    if (changes.length > 0) {
      await context.client.patchEndpointConfig(id!, { options: parseAssignments(changes) });
      await context.write(`Endpoint ${id!} configuration updated successfully\n`);
      return;
    }
    const config = await context.client.endpointConfig(id!);
    await context.printTable(config, () => optionRows({ ...config.immutable, ...config.realized?.options }));
  });
}

function regenerateCommand(runner: Runner): Command {
  const command = new Command('regenerate').description(
    "bring an endpoint's programs and maps to what policy says now",
  );
  return runner.action(command.argument('<id>', ID), async (context, [id]) => {
    // A change of nothing makes the agent regenerate: so it is in the peer's API.
    await context.client.patchEndpointConfig(id!, {});
    await context.write(`Endpoint ${id!} successfully regenerated\n`);
  });
}

function deleteCommand(runner: Runner): Command {
  const command = new Command('delete').description('remove endpoints, with their interfaces');
  return runner.action(command.argument('<id...>', ID), async (context, ids) => {
    for (const id of ids) {
      await context.client.deleteEndpoint(id);
      await context.write(`Endpoint ${id} successfully deleted\n`);
    }
  });
}
