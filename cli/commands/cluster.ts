import { existsSync } from 'node:fs';
import path from 'node:path';
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
      'how to reach the API server (env: KUBECONFIG; default: the service account of the pod, or ~/.kube/config)',
    )
    .option('-n, --namespace <name>', 'where the operator runs', 'kube-system');
  return new Command('cluster')
    .description('look at the whole cluster')
    .addCommand(runner.action<ClusterOptions>(status, clusterStatus));
}

/** The file that kubectl would read; undefined: the pod's service account, or nothing. Of several the first that there is counts. */
function kubeconfigOf(env: NodeJS.ProcessEnv, inCluster: boolean): string | undefined {
  const named = (env['KUBECONFIG'] ?? '').split(path.delimiter).filter(Boolean);
  if (named.length > 0) return named.find((file) => existsSync(file)) ?? named[0];
  const usual = path.join(env['HOME'] ?? '', '.kube/config');
  return !inCluster && existsSync(usual) ? usual : undefined;
}

async function clusterStatus(context: Context, _words: readonly string[], options: ClusterOptions): Promise<void> {
  const { terminal } = context;
  // Only those who ask for the cluster wait for the library that reads its credentials.
  const { ApiClient } = await import('../../agent/k8s/apiserver/client.ts');
  const { Credentials, isInCluster } = await import('../../agent/k8s/apiserver/credentials.ts');
  const kubeconfig = options.kubeconfig ?? kubeconfigOf(terminal.env, isInCluster(terminal.env));
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
