import { Command, Option } from 'commander';
import type { MonitorEvent } from '../../agent/api/models.ts';
import { withOutput, type Context, type Runner } from '../context.ts';
import { formatData } from '../output/format.ts';
import { monitorLine, monitorMatches, type FilterEndpoint, type MonitorFilter } from '../tables/monitor.ts';
import { endpointAddresses } from './bpf.ts';

interface MonitorOptions {
  readonly type?: MonitorEvent['type'][];
  readonly from?: string[];
  readonly to?: string[];
  readonly relatedTo?: string[];
  readonly numeric?: true;
  readonly time?: true;
}

/** `weir monitor`: runs until it is interrupted. */
export function monitorCommand(runner: Runner): Command {
  const command = withOutput(new Command('monitor'))
    .description('show drops, policy verdicts, traces and DNS queries as they happen')
    .addOption(
      new Option('-t, --type <types...>', 'only events of these types').choices([
        'drop',
        'policy-verdict',
        'trace',
        'l7',
      ]),
    )
    .option('--from <endpoints...>', 'only packets that these endpoints sent')
    .option('--to <endpoints...>', 'only packets for these endpoints')
    .option('--related-to <endpoints...>', 'only packets from, for or judged by these endpoints')
    .option('-n, --numeric', 'show identities by number')
    .option('--time', 'put the time first');
  return runner.action<MonitorOptions>(command, monitor);
}

async function monitor(context: Context, _words: readonly string[], options: MonitorOptions): Promise<void> {
  const { signal, stderr } = context.terminal;
  const filter: MonitorFilter = {
    types: new Set(options.type),
    from: await filterEndpoints(context, options.from),
    to: await filterEndpoints(context, options.to),
    relatedTo: await filterEndpoints(context, options.relatedTo),
  };
  try {
    const heard = {
      ...(options.type && { types: options.type }),
      onOpen: () => {
        if (stderr.isTTY === true) context.warn('Listening for events. Press Ctrl-C to quit');
      },
    };
    // As many at a time as have come: an agent tells of tens of thousands a second.
    for await (const lines of context.client.monitorText(signal, heard)) {
      const text = await linesText(context, lines, filter, options);
      if (text !== '') await context.write(text);
    }
  } catch (thrown) {
    // The person had enough: that is how this command ends.
    if (!signal.aborted) throw thrown;
  }
}

/** What to print for lines of the agent. */
async function linesText(
  context: Context,
  lines: string,
  filter: MonitorFilter,
  options: MonitorOptions,
): Promise<string> {
  const isJson = context.format?.kind === 'json';
  // The agent's own words, of the types that it was asked for: one line an event, so that `jq` and friends can follow.
  if (isJson && filter.from.length + filter.to.length + filter.relatedTo.length === 0) return lines.trimStart();
  const line = { numeric: options.numeric === true, time: options.time === true };
  let text = '';
  for (const json of lines.split('\n')) {
    if (json.trim() === '') continue;
    const event = context.client.monitorEvent(json);
    if (!monitorMatches(event, filter)) continue;
    if (context.format === undefined) text += `${monitorLine(event, line, context.paint)}\n`;
    else if (isJson) text += `${json}\n`;
    else text += `${context.format.kind === 'yaml' ? '---\n' : ''}${await formatData(event, context.format)}`;
  }
  return text;
}

async function filterEndpoints(context: Context, ids: readonly string[] = []): Promise<readonly FilterEndpoint[]> {
  return Promise.all(
    ids.map(async (id) => {
      const endpoint = await context.client.endpoint(id);
      return { id: endpoint.id, addresses: await endpointAddresses(context, id) };
    }),
  );
}
