import { Command } from 'commander';
import type { PolicyMapFields } from '../../agent/api/models.ts';
import { withOutput, type Context, type Runner } from '../context.ts';
import { UsageError } from '../fault.ts';
import { identityLabels, type IdentityLabels } from '../tables/identity.ts';
import { mapName } from '../tables/maps.ts';
import { policyMapRows } from '../tables/policy-map.ts';
import { dumpMap } from './map-dump.ts';

interface PolicyGetOptions {
  readonly all?: true;
  readonly numeric?: true;
}

/** `weir bpf policy …` */
export function bpfPolicyCommand(runner: Runner): Command {
  const get = withOutput(new Command('get'))
    .description('show the policy map of an endpoint')
    .argument('[endpoint]', 'number of the endpoint, or a prefixed id')
    .option('--all', 'the policy maps of all endpoints')
    .option('-n, --numeric', 'show identities by number');
  return new Command('policy')
    .description('policy maps: who may talk to whom, as the kernel looks it up')
    .addCommand(runner.action<PolicyGetOptions>(get, getPolicy));
}

async function getPolicy(context: Context, [endpoint]: readonly string[], options: PolicyGetOptions): Promise<void> {
  if ((endpoint === undefined) !== (options.all === true)) {
    throw new UsageError('name one endpoint, or all of them with --all');
  }
  if (endpoint !== undefined) {
    const entries = await dumpMap<PolicyMapFields>(context, policyMapName(await endpointNumber(context, endpoint)));
    await context.print(entries, async () => policyText(context, entries, await labelsFor(context, options)));
    return;
  }
  const maps = (await context.client.maps()).maps ?? [];
  const dumps: PolicyDump[] = [];
  for (const map of maps) {
    const id = /^weir_policy_0*(\d+)$/.exec(mapName(map))?.[1];
    if (id === undefined) continue;
    dumps.push({ EndpointID: id, Path: map.path ?? '', Content: await dumpMap(context, mapName(map)) });
  }
  dumps.sort((a, b) => Number(a.EndpointID) - Number(b.EndpointID));
  await context.print(dumps, async () => allText(context, dumps, await labelsFor(context, options)));
}

/** The peer's names for a dump of several maps. */
interface PolicyDump {
  readonly EndpointID: string;
  readonly Path: string;
  readonly Content: readonly PolicyMapFields[];
}

function allText(context: Context, dumps: readonly PolicyDump[], labels: IdentityLabels | undefined): string {
  if (dumps.length === 0) return 'no maps found\n';
  return dumps
    .map(({ EndpointID, Path, Content }) => {
      return `Endpoint ID: ${EndpointID}\nPath: ${Path}\n\n${policyText(context, Content, labels)}\n\n`;
    })
    .join('');
}

function policyText(context: Context, entries: readonly PolicyMapFields[], labels: IdentityLabels | undefined): string {
  const empty = entries.length === 0 ? 'The policy map is empty: everything is denied.\n' : '';
  return context.table(policyMapRows(entries, labels)) + empty;
}

async function labelsFor(context: Context, options: PolicyGetOptions): Promise<IdentityLabels | undefined> {
  return options.numeric === true ? undefined : identityLabels(await context.client.identities());
}

const policyMapName = (id: number): string => `weir_policy_${id}`;

/** The number behind any id that the agent understands. */
async function endpointNumber(context: Context, id: string): Promise<number> {
  return /^\d+$/.test(id) ? Number(id) : (await context.client.endpoint(id)).id;
}
