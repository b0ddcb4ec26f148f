import { Command } from 'commander';
import { RESERVED_IDENTITY } from '../../agent/model/identity.ts';
import { withOutput, type Context, type Runner } from '../context.ts';
import { UsageError } from '../fault.ts';
import { identityEndpointRows, identityLabels, identityRows, ipRows } from '../tables/identity.ts';

/** `weir identity …` */
export function identityCommand(runner: Runner): Command {
  const list = withOutput(new Command('list'))
    .alias('ls')
    .description('list identities')
    .argument('[labels...]', 'only those that have all of these labels')
    .option('--endpoints', 'only those of the endpoints of this node, with how many have them');
  const get = withOutput(new Command('get'))
    .description('show an identity')
    .argument('<id>', 'number of the identity, or the name of a reserved one, such as world');
  return new Command('identity')
    .description('look at security identities')
    .addCommand(runner.action<{ endpoints?: true }>(list, listIdentities))
    .addCommand(runner.action(get, getIdentity));
}

async function listIdentities(
  context: Context,
  labels: readonly string[],
  options: { readonly endpoints?: true },
): Promise<void> {
  const hasAll = (own: readonly string[] | undefined): boolean => labels.every((label) => own?.includes(label));
  if (options.endpoints === true) {
    const all = await context.client.identityEndpoints();
    const found = all.filter((item) => hasAll(item.identity?.labels));
    await context.printTable(found, () => identityEndpointRows(found));
    return;
  }
  const found = (await context.client.identities()).filter((identity) => hasAll(identity.labels));
  await context.printTable(found, () => identityRows(found));
}

async function getIdentity(context: Context, [text]: readonly string[]): Promise<void> {
  const identity = await context.client.identity(identityNumber(text!));
  await context.printTable([identity], () => identityRows([identity]));
}

function identityNumber(text: string): number {
  const reserved = Object.entries(RESERVED_IDENTITY).find(([name]) => name === text.replace(/^reserved:/, ''));
  if (reserved !== undefined) return reserved[1];
  if (/^\d{1,10}$/.test(text)) return Number(text);
  throw new UsageError(`${JSON.stringify(text)} is not an identity`, 'give its number, or the name of a reserved one');
}

interface IpOptions {
  readonly numeric?: true;
  readonly verbose?: true;
}

/** `weir ip …` */
export function ipCommand(runner: Runner): Command {
  const withFlags = (command: Command): Command =>
    withOutput(command)
      .option('-n, --numeric', 'show identities by number')
      .option('-v, --verbose', 'show all that is known of an entry');
  const list = withFlags(new Command('list')).alias('ls').description('list what identity each address has');
  const get = withFlags(new Command('get'))
    .description('show what identity an address has')
    .argument('<cidr>', 'address or prefix');
  return new Command('ip')
    .description('look at the identities of addresses')
    .addCommand(runner.action<IpOptions>(list, (context, _words, options) => printIps(context, undefined, options)))
    .addCommand(runner.action<IpOptions>(get, (context, [cidr], options) => printIps(context, cidr, options)));
}

async function printIps(context: Context, cidr: string | undefined, options: IpOptions): Promise<void> {
  const entries = await context.client.ips(cidr);
  await context.printTable(entries, async () => {
    const numeric = options.numeric === true;
    const labels = identityLabels(numeric ? [] : await context.client.identities());
    return ipRows(entries, labels, { numeric, verbose: options.verbose === true });
  });
}
