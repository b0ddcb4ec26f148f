import type { ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, rmdirSync } from 'node:fs';
import { start, stop } from '../harness/exec.ts';

/** Where containerd's shims listen, whatever its configuration says. */
const SHIM_SOCKETS = '/run/containerd';

/**
 * A mount namespace that lives as long as this object, or this process. What containerd mounts in it, the machine never
 * sees; the agent that shall find the pods' network namespaces runs in it too.
 */
export class MountNamespace implements AsyncDisposable {
  readonly #holder: ChildProcess;
  /** Folders that had to be made on the machine to mount something over them. */
  readonly #made: readonly string[];

  private constructor(holder: ChildProcess, made: readonly string[]) {
    this.#holder = holder;
    this.#made = made;
  }

  /** `shared` is the one folder whose mounts also the namespaces below this one see. */
  static async create(shared: string): Promise<MountNamespace> {
    const made = existsSync(SHIM_SOCKETS) ? [] : [SHIM_SOCKETS];
    for (const folder of made) mkdirSync(folder);
    const script = `
      mount --bind ${shared} ${shared}
      mount --make-shared ${shared}
      mount -t tmpfs tmpfs ${SHIM_SOCKETS}
      echo ready
      exec sleep infinity`;
    const holder = start(['unshare', '--mount', '--', 'sh', '-ec', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    await new Promise<void>((resolve, reject) => {
      holder.stdout!.once('data', () => resolve());
      holder.once('exit', (code) => reject(new Error(`the mount namespace could not be made: exit ${code}`)));
    });
    return new MountNamespace(holder, made);
  }

  /** Words that, put before a command, run it here. */
  get enter(): readonly string[] {
    return ['nsenter', `--mount=/proc/${this.#holder.pid!}/ns/mnt`, '--'];
  }

  /** A path of this namespace as the rest of the machine reaches it. */
  outside(inside: string): string {
    return `/proc/${this.#holder.pid!}/root${inside}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await stop(this.#holder, 'SIGKILL');
    for (const folder of this.#made) rmdirSync(folder);
  }
}
