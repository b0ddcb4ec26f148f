/** A path between two network namespaces, with servers at its far end for everything that is measured on it. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { run, start, stop } from '../harness/exec.ts';
import type { Netns } from '../harness/netns.ts';
import { uniqueName } from '../harness/run.ts';
import { waitFor } from '../harness/wait.ts';

/** Each end keeps to a processor of its own: where the scheduler puts them would otherwise decide most of the latency. */
export const onProcessor = (number: 0 | 1): readonly string[] => ['taskset', '-c', String(number)];

/** Two ends of a path: what is measured between them is all that differs. */
export interface Path {
  readonly name: string;
  readonly client: Pick<Netns, 'enter'>;
  readonly server: Pick<Netns, 'enter'>;
  readonly address: string;
}

/** Where the servers of a path listen. */
export const PORTS = { iperf: 5201, sockperfTcp: 5301, sockperfUdp: 5302, http: 5401 } as const;

/** Starts the servers of a path; they end with the stack. */
export async function serve(stack: AsyncDisposableStack, { enter }: Path['server']): Promise<void> {
  const servers = [
    ['iperf3', '-s', '-p', String(PORTS.iperf)],
    ['sockperf', 'server', '--tcp', '-p', String(PORTS.sockperfTcp)],
    ['sockperf', 'server', '-p', String(PORTS.sockperfUdp)],
    webServer(stack),
  ];
  for (const argv of servers) {
    const child = start([...enter, ...onProcessor(1), ...argv], { stdio: ['ignore', 'ignore', 'inherit'] });
    stack.defer(() => stop(child, 'SIGKILL'));
  }
  await waitFor(
    'the servers',
    () => {
      const open = run([...enter, 'ss', '-Hlntu']);
      return Object.values(PORTS).every((port) => open.includes(`:${port}`));
    },
    30_000,
  );
}

/** A web server that answers the least there is to answer, and closes the connection. */
function webServer(stack: AsyncDisposableStack): string[] {
  const folder = mkdtempSync(path.join(tmpdir(), `${uniqueName('nginx')}-`));
  stack.defer(() => rmSync(folder, { recursive: true }));
  writeFileSync(
    path.join(folder, 'nginx.conf'),
    `daemon off;
master_process off;
pid nginx.pid;
error_log stderr crit;
events { worker_connections 1024; }
http {
  access_log off;
  keepalive_timeout 0;
  server { listen ${PORTS.http}; location / { return 204; } }
}
`,
  );
  return ['nginx', '-p', folder, '-c', path.join(folder, 'nginx.conf')];
}
