import { Command } from 'commander';
import { withOutput, type Runner } from '../context.ts';
import { nodeRows } from '../tables/node.ts';

/** `weir node …` */
export function nodeCommand(runner: Runner): Command {
  const list = withOutput(new Command('list'))
    .alias('ls')
    .description('list nodes with their addresses and pod prefixes');
  return new Command('node').description('look at the nodes of the cluster').addCommand(
    runner.action(list, async (context) => {
      const nodes = (await context.client.nodes())['nodes-added'] ?? [];
      await context.printTable(nodes, () => nodeRows(nodes));
    }),
  );
}
