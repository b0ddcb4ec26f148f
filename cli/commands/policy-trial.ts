import { Command, InvalidArgumentError } from 'commander';
import type { PolicyTrial } from '../../agent/api/models.ts';
import { withOutput, type Runner } from '../context.ts';
import { readManifests } from '../policy/sources.ts';

const SECONDS = { s: 1, m: 60, h: 3600 } as const;

/** Seconds of a text such as `60s`, `5m` or `90`. @throws InvalidArgumentError */
function seconds(text: string): number {
  const [, number, unit = 's'] = /^(\d+)([smh])?$/.exec(text) ?? [];
  const found = Number(number) * SECONDS[unit as keyof typeof SECONDS];
  if (found >= 1 && found <= 86_400) return found;
  throw new InvalidArgumentError('it must be a time such as 60s or 5m, up to 24h.');
}

/** `weir policy try`, `confirm`, `rollback`: policies in force for a while, for those that may cut somebody off. */
export function trialCommands(runner: Runner): Command[] {
  const attempt = withOutput(new Command('try'))
    .description('put policies in force on this node for a while; unless confirmed, what was before comes back')
    .argument('<file...>', 'YAML or JSON files, directories, or - for standard input')
    .option('--for <time>', 'how long there is to confirm: 60s unless told otherwise', seconds, 60);
  const confirm = withOutput(new Command('confirm')).description('keep the policies that are on trial');
  const rollback = withOutput(new Command('rollback')).description('take back the policies that are on trial');
  return [
    runner.action<{ for: number }>(attempt, async (context, words, options) => {
      const texts = await readManifests(words, process.stdin);
      const manifest = texts.map(({ text }) => text).join('\n---\n');
      const trial = await context.client.tryPolicies({ manifest, seconds: options.for });
      await context.print(trial, () => `${begunText(trial)}\n`);
    }),
    runner.action(confirm, async (context) => {
      const kept = await context.client.confirmPolicies();
      await context.print(kept, () => `${listText('Kept', kept)}\n${KEPT}\n`);
    }),
    runner.action(rollback, async (context) => {
      const gone = await context.client.rollBackPolicies();
      await context.print(gone, () => `${listText('Taken back', gone)}\n`);
    }),
  ];
}

const KEPT = 'They stay until this agent ends: put them where policies come from, as with `kubectl apply`.';

function begunText(trial: PolicyTrial): string {
  const until = trial['expires-at'] ?? '';
  return `${listText('On trial', trial)}\nUntil ${until}. Keep: weir policy confirm. Take back now: weir policy rollback.`;
}

function listText(what: string, { policies }: PolicyTrial): string {
  return `${what}: ${policies.join(', ')}`;
}
