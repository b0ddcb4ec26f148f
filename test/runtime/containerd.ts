import type { ChildProcess } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { cgroupFolders, isEmptyCgroup, removeCgroup } from '../harness/cgroup.ts';
import { run, start, stop } from '../harness/exec.ts';
import type { Netns } from '../harness/netns.ts';
import { uniqueName } from '../harness/run.ts';
import { waitFor } from '../harness/wait.ts';
import { Cri } from './cri.ts';
import { IMAGE, writeImage } from './image.ts';
import type { MountNamespace } from './mount-namespace.ts';

/** Where Debian puts the reference plugins. */
export const DEBIAN_PLUGINS = '/usr/lib/cni';

export interface ContainerdOptions {
  /** Of the test's own; everything containerd keeps is below it. Its mounts must be shared in `mounts`. */
  readonly folder: string;
  readonly mounts: MountNamespace;
  /** The network namespace of the node. */
  readonly node: Netns;
  /** Paths of plugins beside `loopback`. */
  readonly plugins: readonly string[];
}

/**
 * Debian's containerd with runc, on a root, state and sockets of its own. It runs in a PID namespace: when the test ends,
 * however that happens, the kernel ends containerd, its shims and its containers with it.
 */
export class Containerd implements AsyncDisposable {
  readonly cri: Cri;
  readonly #options: ContainerdOptions;
  readonly #cgroup = uniqueName('pods');
  readonly #sandboxes = new Set<string>();
  #process: ChildProcess | undefined;

  private constructor(options: ContainerdOptions) {
    this.#options = options;
    this.cri = new Cri(this.#path('containerd.sock'));
  }

  static async start(options: ContainerdOptions): Promise<Containerd> {
    const containerd = new Containerd(options);
    try {
      await containerd.#start();
      return containerd;
    } catch (error) {
      await containerd[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Puts a network configuration in force; containerd notices by itself. */
  async configure(conflist: object): Promise<void> {
    writeFileSync(this.#path('net.d/05-test.conflist'), JSON.stringify(conflist));
    await waitFor('the network configuration', async () =>
      (await this.cri.conditions()).some(({ type, status }) => type === 'NetworkReady' && status),
    );
  }

  /** Starts a pod of the image that only sleeps, as a kubelet does; returns its id. */
  async runPod(name: string, namespace = 'default'): Promise<string> {
    const id = await this.cri.runPodSandbox({
      metadata: { name, namespace, uid: `uid-${name}` },
      logDirectory: this.#path('logs'),
      linux: { cgroupParent: `/${this.#cgroup}` },
    });
    this.#sandboxes.add(id);
    return id;
  }

  /** Stops and removes a pod. */
  async removePod(id: string): Promise<void> {
    await this.cri.stopPodSandbox(id);
    await this.cri.removePodSandbox(id);
    this.#sandboxes.delete(id);
  }

  /** Words that run a command in a pod's network namespace, with the mounts of the machine. */
  async enterPod(id: string): Promise<readonly string[]> {
    const { netns } = await this.cri.podSandbox(id);
    return ['nsenter', `--net=${this.#options.mounts.outside(netns)}`, '--'];
  }

  /** Last lines of containerd's log. */
  logTail(lines = 30): string {
    const log = this.#path('containerd.log');
    return existsSync(log) ? readFileSync(log, 'utf8').trimEnd().split('\n').slice(-lines).join('\n') : '';
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await using undo = new AsyncDisposableStack();
    undo.defer(async () => {
      for (const folder of cgroupFolders(this.#cgroup)) {
        await waitFor(`the last process of ${folder}`, () => isEmptyCgroup(folder));
        removeCgroup(folder);
      }
    });
    undo.defer(async () => {
      // The end of its parent ends the first process of the PID namespace, and with it all others.
      if (this.#process !== undefined) await stop(this.#process, 'SIGKILL');
    });
    undo.defer(() => this.cri[Symbol.dispose]());
    for (const id of this.#sandboxes) await this.removePod(id);
  }

  async #start(): Promise<void> {
    for (const folder of ['bin', 'net.d', 'logs']) mkdirSync(this.#path(folder));
    for (const plugin of [path.join(DEBIAN_PLUGINS, 'loopback'), ...this.#options.plugins]) {
      symlinkSync(plugin, this.#path(`bin/${path.basename(plugin)}`));
    }
    writeFileSync(this.#path('config.toml'), this.#config());
    const { node, mounts } = this.#options;
    const log = openSync(this.#path('containerd.log'), 'a');
    const child = start(
      [
        ...node.enter,
        ...mounts.enter,
        ...['unshare', '--mount', '--propagation', 'unchanged'],
        ...['--pid', '--fork', '--kill-child=KILL', '--mount-proc', '--'],
        ...['containerd', '--config', this.#path('config.toml')],
      ],
      { stdio: ['ignore', log, log] },
    );
    closeSync(log);
    this.#process = child;
    await waitFor('containerd', async () => {
      if (child.exitCode !== null) throw new Error(`containerd ended:\n${this.logTail()}`);
      return (await this.cri.conditions()).length > 0;
    });
    const image = writeImage(this.#path('.'));
    const ctr = ['ctr', '--address', this.#path('containerd.sock'), '--namespace', 'k8s.io'];
    run([...mounts.enter, ...ctr, 'images', 'import', image]);
  }

  #path(name: string): string {
    return path.join(this.#options.folder, name);
  }

  /**
   * No AppArmor and no lower OOM scores, because a test may run inside a container that has no right to either; the native
   * snapshotter, because overlayfs cannot be stacked on every file system.
   */
  #config(): string {
    return `version = 2
root = "${this.#path('root')}"
state = "${this.#path('state')}"

[grpc]
  address = "${this.#path('containerd.sock')}"

[plugins."io.containerd.internal.v1.opt"]
  path = "${this.#path('opt')}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${IMAGE}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "${this.#path('bin')}"
    conf_dir = "${this.#path('net.d')}"
`;
  }
}
