/** weir-operator as a process that can be killed. */
import type { ChildProcess } from 'node:child_process';
import { createWriteStream, existsSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { start, stop } from './exec.ts';
import type { Netns } from './netns.ts';
import { dist } from './node.ts';
import { waitFor } from './wait.ts';

export interface OperatorOptions {
  readonly ns: Netns;
  readonly kubeconfig: string;
  /** File that it logs to. */
  readonly log: string;
  readonly flags: readonly string[];
}

/** Another may lead after this long, so that tests need not wait for the fifteen seconds of an installation. */
const LEASE = [
  ...['--leader-election-lease-duration', '4s'],
  ...['--leader-election-renew-deadline', '3s'],
  ...['--leader-election-retry-period', '500ms'],
];

export class OperatorProcess implements AsyncDisposable {
  readonly #options: OperatorOptions;
  #child: ChildProcess | undefined;

  constructor(options: OperatorOptions) {
    this.#options = options;
  }

  /** Starts it and waits until it leads. */
  async start(): Promise<void> {
    const { ns, kubeconfig, log, flags } = this.#options;
    const before = existsSync(log) ? statSync(log).size : 0;
    const sink = createWriteStream(log, { flags: 'a' });
    await new Promise((resolve) => sink.once('open', resolve));
    const words = ['--k8s-kubeconfig-path', kubeconfig, '--listen', '127.0.0.1:0', ...LEASE, ...flags];
    const child = start([...ns.enter, path.join(dist, 'weir-operator'), ...words], { stdio: ['ignore', sink, sink] });
    sink.close();
    this.#child = child;
    const said = (): string => readFileSync(log).subarray(before).toString();
    await waitFor('the operator to lead', () => {
      if (child.exitCode !== null || child.signalCode !== null) throw new Error(`it ended:\n${said()}`);
      return /"msg":"leads"/.test(said());
    });
  }

  /** Ends it; SIGKILL plays a crash: its lease is not given back. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    if (this.#child !== undefined) await stop(this.#child, signal);
    this.#child = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop('SIGKILL');
  }
}
