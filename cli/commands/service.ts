import { Command } from 'commander';
import type { Service } from '../../agent/api/models.ts';
import { withOutput, type Context, type Runner } from '../context.ts';
import { UsageError } from '../fault.ts';
import { serviceRows } from '../tables/service.ts';

interface ListOptions {
  readonly clusterip?: true;
}

/** `weir service …` */
export function serviceCommand(runner: Runner): Command {
  const list = withOutput(new Command('list'))
    .alias('ls')
    .description('list frontends of services with their backends')
    .option('--clusterip', 'only cluster addresses');
  const get = withOutput(new Command('get'))
    .description('show a frontend with its backends')
    .argument('<id>', 'number of the frontend, as the list shows it');
  return new Command('service')
    .description('look at services')
    .addCommand(runner.action<ListOptions>(list, listServices))
    .addCommand(runner.action(get, getService));
}

async function listServices(context: Context, _words: readonly string[], options: ListOptions): Promise<void> {
  const wanted = ({ spec }: Service): boolean => options.clusterip !== true || spec?.flags?.type === 'ClusterIP';
  const services = (await context.client.services()).filter(wanted);
  await context.printTable(services, () => serviceRows(services));
}

async function getService(context: Context, [id]: readonly string[]): Promise<void> {
  if (!/^\d{1,5}$/.test(id!)) throw new UsageError(`${JSON.stringify(id)} is not a service`, 'give its number');
  const service = await context.client.service(Number(id));
  await context.printTable(service, () => serviceRows([service]));
}
