import { Command } from 'commander';
import { withOutput, type Runner } from '../context.ts';
import { offlinePolicyCommands } from '../policy/commands.ts';
import { selectorRows } from '../tables/selectors.ts';

/** `weir policy …`: what is in force on this node. The offline commands are mounted beside these. */
export function policyCommand(runner: Runner): Command {
  const get = withOutput(new Command('get')).description('show the rules in force, and their revision');
  const selectors = withOutput(new Command('selectors'))
    .description('show which identities the selectors of the rules select')
    .option('-v, --verbose', 'show all labels of the policies');
  const policy = new Command('policy')
    .description('look at policies in force, and try policies out')
    .addCommand(
      runner.action(get, async (context) => {
        const policy = await context.client.policy();
        await context.print(policy, () => `${policy.policy ?? '[]'}\nRevision: ${policy.revision ?? 0}\n`);
      }),
    )
    .addCommand(
      runner.action<{ verbose?: true }>(selectors, async (context, _words, { verbose }) => {
        const cache = await context.client.selectors();
        await context.printTable(cache, () => selectorRows(cache, verbose === true));
      }),
    );
  for (const offline of offlinePolicyCommands(runner)) policy.addCommand(offline);
  return policy;
}
