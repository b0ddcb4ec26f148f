import { Command } from 'commander';
import { systemClock } from '../../agent/model/clock.ts';
import { VERSION } from '../../agent/model/version.ts';
import type { Context, Runner } from '../context.ts';
import { EXIT } from '../fault.ts';

interface SysdumpOptions {
  readonly outputFilename?: string;
  readonly kubeconfig?: string;
}

/** `weir sysdump`: exits with 1 when something is missing from the bundle. */
export function sysdumpCommand(runner: Runner): Command {
  const command = new Command('sysdump')
    .description('write all that a support engineer asks for into one .tar.gz, without secrets')
    .option('--output-filename <file>', 'where to (default: weir-sysdump-<time>.tar.gz)')
    .option(
      '--kubeconfig <file>',
      'also what this API server stores: policies, nodes, identities, endpoints, services',
    );
  return runner.action<SysdumpOptions>(command, sysdump);
}

async function sysdump(context: Context, _words: readonly string[], options: SysdumpOptions): Promise<void> {
  const { terminal, client } = context;
  const { writeBundle } = await import('../sysdump/bundle.ts');
  const { agentParts, clusterParts, machineParts } = await import('../sysdump/parts.ts');
  const { ApiClient } = await import('../../agent/k8s/apiserver/client.ts');
  const { Credentials } = await import('../../agent/k8s/apiserver/credentials.ts');
  const now = terminal.now();
  const file = options.outputFilename ?? `weir-sysdump-${new Date(now).toISOString().replaceAll(/[:.]/g, '-')}.tar.gz`;
  const { kubeconfig } = options;
  const clock = systemClock;
  const credentials = kubeconfig === undefined ? undefined : Credentials.load({ kubeconfig, servers: [], clock });
  const server = credentials && new ApiClient({ credentials, userAgent: `weir/${VERSION}`, clock });
  try {
    const parts = [
      ...(await agentParts(client)),
      ...machineParts(),
      ...(server === undefined ? [] : clusterParts(server)),
    ];
    const onPart = (path: string, failure?: string): void =>
      context.warn(failure === undefined ? path : `${path}: ${failure}`);
    const { written, failures } = await writeBundle(file, parts, { now, onPart });
    if (failures.length > 0) context.exitCode = EXIT.failed;
    const missing = failures.length === 0 ? '' : `, ${failures.length} missing: see failures.txt inside`;
    await context.write(`${file}: ${written} files${missing}\n`);
  } finally {
    server?.close();
  }
}
