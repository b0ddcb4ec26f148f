/** The offline commands of `weir policy`. The engine and the YAML parser are loaded by those who need them. */
import { Command, Option } from 'commander';
import { withOutput, type Context, type Runner } from '../context.ts';
import { EXIT } from '../fault.ts';
import { readScenarios } from './scenarios.ts';
import { readManifests } from './sources.ts';

export function offlinePolicyCommands(runner: Runner): readonly Command[] {
  return [validateCommand(runner), traceCommand(runner), evaluateCommand(runner)];
}

function validateCommand(runner: Runner): Command {
  const command = withOutput(new Command('validate'))
    .description('check the policies in manifests; every fault is named with file, line and column')
    .argument('<file...>', 'YAML or JSON files, directories, or - for standard input');
  return runner.action(command, async (context, words) => {
    const { describeReport, isClean, validateManifests } = await import('./validate.ts');
    const report = validateManifests(await readManifests(words, process.stdin));
    await context.print(report, () => describeReport(report));
    // Nothing found is a mistake of the caller: a job that checks nothing must not pass.
    const total = report.policies.valid + report.policies.invalid;
    if (!isClean(report) || total === 0) context.exitCode = EXIT.failed;
  });
}

interface TraceOptions {
  readonly src: string;
  readonly dst: string;
  readonly dport: string;
  readonly all?: true;
  readonly expect?: 'allowed' | 'denied';
}

function traceCommand(runner: Runner): Command {
  const command = withOutput(new Command('trace'))
    .description('say whether a flow is allowed, and why: at the agent, or in the cluster that manifests describe')
    .argument(
      '[file...]',
      'manifests of pods, namespaces and policies: files, directories, or - for standard input (default: ask the agent)',
    )
    .requiredOption(
      '--src <peer>',
      'who connects: namespace/pod, an address, host, world …, labels (app=web,namespace=shop); of an agent also ' +
        'endpoint:ID and identity:ID',
    )
    .requiredOption('--dst <peer>', 'to whom; also dns:NAME for a name outside')
    .requiredOption('--dport <port>', 'destination port: 80, 53/UDP, icmp/8, or its name')
    .option('--all', 'show both ends, and every rule that was considered')
    .addOption(
      new Option('--expect <verdict>', 'exit with 1 unless the verdict is this').choices(['allowed', 'denied']),
    );
  return runner.action<TraceOptions>(command, async (context, words, { src, dst, dport, all, expect }) => {
    const { describeTrace, trace, traceLive } = await import('./trace.ts');
    const { LiveNode } = await import('./live-node.ts');
    const request = { source: src, destination: dst, port: dport };
    const found =
      words.length === 0
        ? await traceLive(new LiveNode(context.client), request)
        : trace(await readManifests(words, process.stdin), request);
    await context.print(found, () => describeTrace(found, all === true));
    if (expect !== undefined && (expect === 'allowed') !== found.allowed) context.exitCode = EXIT.failed;
  });
}

function evaluateCommand(runner: Runner): Command {
  const command = new Command('evaluate')
    .description('decide every flow of scenarios, one JSON line each, with the engine of the agent')
    .argument('<file...>', 'files with a scenario on each line')
    .option('--check', 'compare with the answers in the file, and print what differs');
  return runner.action<{ check?: true }>(command, async (context, words, options) => {
    if (options.check === true) return checkScenarios(context, words);
    const { evaluate } = await import('../../agent/policy/evaluate.ts');
    for await (const { scenario } of readScenarios(words))
      await context.write(`${JSON.stringify(evaluate(scenario))}\n`);
  });
}

async function checkScenarios(context: Context, files: readonly string[]): Promise<void> {
  const { check, mismatchText } = await import('../../agent/policy/check.ts');
  const count = { scenarios: 0, wrong: 0, mismatches: 0 };
  for await (const line of readScenarios(files)) {
    count.scenarios++;
    const mismatches = check(line);
    if (mismatches.length === 0) continue;
    count.wrong++;
    count.mismatches += mismatches.length;
    await context.write(mismatches.map((mismatch) => `${mismatchText(mismatch)}\n`).join(''));
  }
  await context.write(`${count.scenarios} scenarios, ${count.wrong} with mismatches, ${count.mismatches} mismatches\n`);
  if (count.mismatches > 0 || count.scenarios === 0) context.exitCode = EXIT.failed;
}
