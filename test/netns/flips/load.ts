import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { start, stop } from '../../harness/exec.ts';
import type { Pod } from '../../harness/pod.ts';
import { FLOWS, type Pods, type Side } from './flow.ts';
import type { LoadCommand, LoadReply, LoadReport, LoadWire } from './load-protocol.ts';

/** A wire as the test judges it. */
export interface Wire extends LoadWire {
  readonly name: string;
  readonly allowed: readonly Side[];
}

/** Every flow over IPv4 and over IPv6. */
export function wiresOf(pods: Pods): readonly Wire[] {
  const server = pods.get('server')!;
  return FLOWS.flatMap(({ pod: name, port, allowed }) => {
    const pod = pods.get(name)!;
    const wire = { netns: pod.ns.path, port, allowed, always: allowed.length === 2 };
    return [
      { ...wire, name: `${name} to port ${port}, IPv4`, from: pod.ipv4, to: server.ipv4 },
      { ...wire, name: `${name} to port ${port}, IPv6`, from: pod.ipv6, to: server.ipv6 },
    ];
  });
}

/** The process that sends and receives. */
export class Load implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, PromiseWithResolvers<LoadReply>>();
  #seq = 0;

  /** Starts it inside the server's namespace, on one CPU. */
  constructor(server: Pod) {
    const script = path.join(import.meta.dirname, 'load-process.ts');
    const argv = [...server.ns.enter, 'taskset', '--cpu-list', firstCpu(), process.execPath, script];
    this.#child = start(argv, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    this.#child.on('message', (message) => {
      const reply = message as LoadReply;
      this.#waiting.get(reply.seq)?.resolve(reply);
      this.#waiting.delete(reply.seq);
    });
    this.#child.on('exit', () => {
      for (const { reject } of this.#waiting.values()) reject(new Error('the load process ended'));
    });
  }

  async start(server: Pod, wires: readonly Wire[], pace: { roundNs: number; maxRounds: number }): Promise<void> {
    await this.#do({ op: 'start', setup: { server: server.ns.path, wires, ...pace } });
  }

  /** Resolves when packets of every flow have been sent, and have had their verdict, since the call. */
  async round(): Promise<void> {
    await this.#do({ op: 'round' });
  }

  async stop(): Promise<LoadReport> {
    return (await this.#do({ op: 'stop' })).report!;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await stop(this.#child, 'SIGKILL');
  }

  async #do(command: LoadCommand): Promise<LoadReply> {
    const seq = ++this.#seq;
    const waiting = Promise.withResolvers<LoadReply>();
    this.#waiting.set(seq, waiting);
    this.#child.send({ seq, command });
    return await waiting.promise;
  }
}

/** A CPU that this process may run on. */
function firstCpu(): string {
  return /^Cpus_allowed_list:\s*(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))![1]!;
}
