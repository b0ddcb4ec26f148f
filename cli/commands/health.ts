import { Command } from 'commander';
import { withOutput, type Runner } from '../context.ts';
import { EXIT } from '../fault.ts';
import { healthText, isReachable } from '../tables/health.ts';

/** All nodes are asked at once; those that are silent take some seconds. */
const PROBE_TIMEOUT_MS = 120_000;

interface HealthOptions {
  readonly probe?: true;
  readonly succinct?: true;
}

/** `weir health …` */
export function healthCommand(runner: Runner): Command {
  const status = withOutput(new Command('status'))
    .description('show whether this node reaches the others, and their pods')
    .option('--probe', 'probe all nodes now, instead of showing what the last probes found')
    .option('--succinct', 'print a line for each node');
  runner.action<HealthOptions>(status, async (context, _words, { probe, succinct }) => {
    const { client } = context;
    const report = probe === true ? await client.probeConnectivity(PROBE_TIMEOUT_MS) : await client.connectivity();
    if (report.nodes?.some((node) => isReachable(node) === false) === true) context.exitCode = EXIT.failed;
    await context.print(report, () => healthText(report, { succinct: succinct === true }, context.paint));
  });
  return new Command('health').description('look at how the nodes reach each other').addCommand(status);
}
