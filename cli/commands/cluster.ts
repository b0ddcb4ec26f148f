import { Command } from 'commander';
import { systemClock } from '../../agent/model/clock.ts';
import { VERSION } from '../../agent/model/version.ts';
import { clusterFaults, readCluster } from '../cluster/cluster-state.ts';
import { withOutput, type Context, type Runner } from '../context.ts';
import { EXIT } from '../fault.ts';
import { clusterRows } from '../tables/cluster.ts';

interface ClusterOptions {
  readonly kubeconfig?: string;
  readonly namespace: string;
}

/** Faults that are printed; the rest are counted. */
const SHOWN = 20;

/** `weir cluster …` */
export function clusterCommand(runner: Runner): Command {
  const status = withOutput(new Command('status'))
    .description('show how Weir stands in the whole cluster, as the API server knows it')
    .option(
      '--kubeconfig <file>',
      'how to reach the API server (env: KUBECONFIG; default: the service account of the pod)',
    )
    .option('-n, --namespace <name>', 'where the operator runs', 'kube-system');
  return new Command('cluster')
    .description('look at the whole cluster')
    .addCommand(runner.action<ClusterOptions>(status, clusterStatus));
}

async function clusterStatus(context: Context, _words: readonly string[], options: ClusterOptions): Promise<void> {
  const { terminal } = context;
  // Only those who ask for the cluster wait for the library that reads its credentials.
  const { ApiClient } = await import('../../agent/k8s/apiserver/client.ts');
  const { Credentials } = await import('../../agent/k8s/apiserver/credentials.ts');
  const fromEnvironment = terminal.env['KUBECONFIG'];
  const kubeconfig = options.kubeconfig ?? (fromEnvironment === '' ? undefined : fromEnvironment);
  const clock = systemClock;
  const credentials = Credentials.load({ kubeconfig, servers: [], clock });
  const server = new ApiClient({ credentials, userAgent: `weir/${VERSION}`, clock });
  try {
    const state = await readCluster(server, options.namespace, terminal.now());
    const faults = clusterFaults(state);
    if (faults.length > 0) context.exitCode = EXIT.failed;
    await context.print(state, () => {
      const more = faults.length > SHOWN ? [`and ${faults.length - SHOWN} more: see -o json`] : [];
      return [context.table(clusterRows(state)).trimEnd(), ...faults.slice(0, SHOWN), ...more, ''].join('\n');
    });
  } finally {
    server.close();
  }
}
