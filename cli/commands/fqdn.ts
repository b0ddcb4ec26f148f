import { Command } from 'commander';
import type { NameFilter } from '../../agent/api/client.ts';
import { withOutput, type Context, type Runner } from '../context.ts';
import { UsageError } from '../fault.ts';
import { lookupRows, nameSelectorRows } from '../tables/fqdn.ts';

interface ListOptions {
  readonly endpoint?: string;
  readonly matchpattern?: string;
  readonly source?: string;
  readonly cidr?: string;
}

/** `weir fqdn …` */
export function fqdnCommand(runner: Runner): Command {
  const list = withOutput(new Command('list'))
    .alias('ls')
    .description('list addresses that endpoints know by name')
    .option('-e, --endpoint <id>', 'only those of this endpoint')
    .option('-p, --matchpattern <pattern>', 'only names that match, such as *.example.com')
    .option(
      '-s, --source <source>',
      'only from answers (lookup), or past their TTL and kept for connections (connection)',
    )
    .option('--cidr <prefix>', 'only addresses in this prefix');
  const clean = new Command('clean')
    .description('forget addresses of names; those of live connections stay until they end')
    .option('-p, --matchpattern <pattern>', 'only of names that match, such as *.example.com')
    .option('-f, --force', 'for scripts made for cilium-dbg: nothing is asked anyway');
  const cache = new Command('cache')
    .description('look at, and forget, what endpoints learned from DNS')
    .addCommand(runner.action<ListOptions>(list, listCache))
    .addCommand(runner.action<ListOptions>(clean, cleanCache));
  const names = withOutput(new Command('names')).description('list the names and patterns that policies use');
  return new Command('fqdn')
    .description('look at names of the domain name system')
    .addCommand(cache)
    .addCommand(runner.action(names, listNames));
}

async function listCache(context: Context, _words: readonly string[], options: ListOptions): Promise<void> {
  const { endpoint, source, matchpattern, cidr } = options;
  if (source !== undefined && source !== 'lookup' && source !== 'connection') {
    throw new UsageError(`${JSON.stringify(source)} is no source`, 'give lookup or connection');
  }
  const filter: NameFilter = {
    ...(matchpattern !== undefined && { matchpattern }),
    ...(cidr !== undefined && { cidr }),
    ...(source !== undefined && { source }),
  };
  const lookups = await context.client.names(filter, endpoint);
  await context.printTable(lookups, () => lookupRows(lookups));
}

async function cleanCache(context: Context, _words: readonly string[], { matchpattern }: ListOptions): Promise<void> {
  await context.client.cleanNames(matchpattern);
  await context.write('FQDN proxy cache cleared\n');
}

async function listNames(context: Context): Promise<void> {
  const names = await context.client.nameSelectors();
  await context.printTable(names, () => nameSelectorRows(names));
}
