import { Command } from 'commander';
import { WeirError } from '../../agent/model/errors.ts';
import { withOutput, type Runner } from '../context.ts';
import { offlinePolicyCommands } from '../policy/commands.ts';
import { isNamed, parsePolicies, policyRuleRows, type PolicyObject } from '../tables/policy-rules.ts';
import { selectorRows } from '../tables/selectors.ts';
import { trialCommands } from './policy-trial.ts';

/** @throws WeirError POLICY_NOT_FOUND for a name that no object has. */
function choose(objects: readonly PolicyObject[], words: readonly string[]): readonly PolicyObject[] {
  const absent = words.find((word) => !objects.some((object) => isNamed(object, word)));
  if (absent !== undefined) {
    throw new WeirError('POLICY_NOT_FOUND', 'no policy in force has this name', { object: absent });
  }
  return words.length === 0 ? objects : objects.filter((object) => words.some((word) => isNamed(object, word)));
}

/** `weir policy …`: what is in force on this node. The offline commands are mounted beside these. */
export function policyCommand(runner: Runner): Command {
  const get = withOutput(new Command('get'))
    .description('show the rules in force, and their revision')
    .argument('[policy...]', 'only these: NAME, NAMESPACE/NAME or KIND/NAMESPACE/NAME');
  const selectors = withOutput(new Command('selectors'))
    .description('show which identities the selectors of the rules select')
    .option('-v, --verbose', 'show all labels of the policies');
  const policy = new Command('policy')
    .description('look at policies in force, and try policies out')
    .addCommand(
      runner.action(get, async (context, words) => {
        const { policy: text = '[]', revision = 0 } = await context.client.policy();
        const chosen = choose(parsePolicies(text), words);
        const names = new Set(chosen.map(({ name }) => name));
        const objects = (JSON.parse(text) as { name: string }[]).filter(({ name }) => names.has(name));
        await context.print({ revision, policy: objects }, () => {
          const table = objects.length === 0 ? 'No policy is in force.\n' : context.table(policyRuleRows(chosen));
          return `${table}Revision: ${revision}\n`;
        });
      }),
    )
    .addCommand(
      runner.action<{ verbose?: true }>(selectors, async (context, _words, { verbose }) => {
        const cache = await context.client.selectors();
        await context.printTable(cache, () => selectorRows(cache, verbose === true));
      }),
    );
  for (const trial of trialCommands(runner)) policy.addCommand(trial);
  for (const offline of offlinePolicyCommands(runner)) policy.addCommand(offline);
  return policy;
}
