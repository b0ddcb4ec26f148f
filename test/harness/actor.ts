import type { ChildProcess } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { start, stop } from './exec.ts';
import type { Netns } from './netns.ts';
import type { Command, Reply } from './pod-protocol.ts';

/** A process inside a network namespace that serves and probes on command. */
export class Actor implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (reply: Reply) => void>();
  #seq = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.on('message', (message) => {
      const reply = message as Reply;
      this.#waiting.get(reply.seq)?.(reply);
      this.#waiting.delete(reply.seq);
    });
    child.on('exit', () => {
      for (const [seq, answer] of this.#waiting) answer({ seq, error: 'the pod process ended' });
      this.#waiting.clear();
    });
  }

  /**
   * Starts the process and waits until it can take commands.
   *
   * @param cgroup folder of the cgroup that it is to belong to
   */
  static async start(ns: Pick<Netns, 'enter'>, cgroup?: string): Promise<Actor> {
    const script = path.join(import.meta.dirname, 'pod-process.ts');
    const child = start([...ns.enter, process.execPath, script], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    if (cgroup !== undefined) writeFileSync(path.join(cgroup, 'cgroup.procs'), String(child.pid));
    const actor = new Actor(child);
    await actor.#reply(0);
    return actor;
  }

  async do(command: Command): Promise<string> {
    const seq = ++this.#seq;
    const answer = this.#reply(seq);
    this.#child.send({ ...command, seq });
    return await answer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await stop(this.#child, 'SIGKILL');
  }

  async #reply(seq: number): Promise<string> {
    const reply = await new Promise<Reply>((resolve) => this.#waiting.set(seq, resolve));
    if (reply.result === undefined) throw new Error(reply.error);
    return reply.result;
  }
}
