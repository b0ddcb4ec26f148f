import type { ChildProcess } from 'node:child_process';
import { createWriteStream, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { ApiClient } from '../../agent/api/client.ts';
import { statusFault } from '../../cli/tables/status.ts';
import { makeCgroup, removeCgroup } from './cgroup.ts';
import { dropReport, DropWatch } from './drops.ts';
import { run, runAsync, start, stop, tryRun, type Output } from './exec.ts';
import { connect, Netns } from './netns.ts';
import { uniqueName } from './run.ts';
import { PATIENCE_MS, waitFor } from './wait.ts';

const root = path.resolve(import.meta.dirname, '../..');

/** Where the built programs are. */
export const dist = path.join(root, 'dist');

export interface NodeOptions {
  readonly name?: string;
  readonly podCidrs?: readonly string[];
  /** False: the agent follows no directory of manifests. */
  readonly manifests?: boolean;
  /** More flags for the agent. */
  readonly flags?: readonly string[] | ((node: WeirNode) => readonly string[]);
  /** Words that put the agent into more namespaces than the node's network. */
  readonly enter?: readonly string[];
  /** Translate services of the sockets of a cgroup of the node's own, to which its pods belong. */
  readonly socketLb?: boolean;
  /** The network it is on, shared with others; absent: a wire to a world of its own. */
  readonly network?: NodeNetwork;
}

/** A network of several nodes. */
export interface NodeNetwork {
  /** A host beside the nodes; the network's owner ends it. */
  readonly world: Netns;
  /** Gives the node its `eth0`. */
  join(node: Netns): void;
}

/** Addresses of a node and of the world host beside it. */
export const NODE_ADDRESSES = { v4: '192.0.2.1', v6: '2001:db8:0:1::1' } as const;
export const WORLD_ADDRESSES = { v4: '192.0.2.100', v6: '2001:db8:0:1::100' } as const;
export const POD_CIDRS = ['10.244.0.0/24', 'fd00:10:244::/64'] as const;

/** How often an agent that starts is asked how it is: by the API, since a process for each question would take its processor. */
const STATUS_EVERY_MS = 25;

/**
 * A node: a network namespace with an agent of its own, its own state, pins and manifests. Beside it, in a namespace of
 * its own, a host of the world.
 */
export class WeirNode implements AsyncDisposable {
  readonly name: string;
  readonly ns: Netns;
  readonly world: Netns;
  readonly dir: string;
  readonly bpfRoot: string;
  readonly manifests: string;
  readonly socket: string;
  /** Folder of the node's cgroup, if it has one. */
  readonly cgroup: string | undefined;
  readonly #options: NodeOptions;
  readonly #api: ApiClient;
  /** In tests: follows what the node drops. */
  readonly #drops: DropWatch | undefined;
  #agent: ChildProcess | undefined;

  constructor(options: NodeOptions = {}) {
    this.#options = options;
    this.name = options.name ?? 'node';
    this.ns = new Netns(this.name);
    this.world = options.network?.world ?? new Netns('world');
    const unique = uniqueName(this.name);
    this.dir = mkdtempSync(path.join(tmpdir(), `${unique}-`));
    this.bpfRoot = `/sys/fs/bpf/${unique}`;
    this.manifests = path.join(this.dir, 'manifests');
    this.socket = path.join(this.dir, 'weir.sock');
    this.#api = new ApiClient(this.socket);
    mkdirSync(this.manifests);
    this.#drops = dropReport && new DropWatch(this.name, this, dropReport);
    this.cgroup = options.socketLb === true ? makeCgroup(unique) : undefined;
    if (options.network === undefined) this.#connectWorld(options.podCidrs ?? POD_CIDRS);
    else options.network.join(this.ns);
  }

  #connectWorld(podCidrs: readonly string[]): void {
    connect(
      { ns: this.ns, name: 'eth0', addresses: [`${NODE_ADDRESSES.v4}/24`, `${NODE_ADDRESSES.v6}/64`] },
      { ns: this.world, name: 'eth0', addresses: [`${WORLD_ADDRESSES.v4}/24`, `${WORLD_ADDRESSES.v6}/64`] },
    );
    for (const cidr of podCidrs) {
      this.world.ip(`route add ${cidr} via ${cidr.includes(':') ? NODE_ADDRESSES.v6 : NODE_ADDRESSES.v4}`);
    }
  }

  /** File with what the agent logged. */
  get log(): string {
    return path.join(this.dir, 'agent.log');
  }

  get agentPid(): number | undefined {
    return this.#agent?.pid;
  }

  /** Writes a manifest as an editor would, in one step; empty text removes it. */
  manifest(file: string, text: string): void {
    const target = path.join(this.manifests, file);
    if (text === '') {
      rmSync(target, { force: true });
      return;
    }
    const draft = path.join(this.dir, `${path.basename(file)}.draft`);
    writeFileSync(draft, text);
    run(['mv', draft, target]);
  }

  /** Starts the agent, with these flags in addition, and waits until it says that it is well. */
  async startAgent(flags: readonly string[] = [], timeoutMs = 2 * PATIENCE_MS): Promise<void> {
    const argv = [
      ...this.ns.enter,
      ...(this.#options.enter ?? []),
      path.join(dist, 'weir-agent'),
      ...['--socket', this.socket, '--state-dir', path.join(this.dir, 'state'), '--bpf-root', this.bpfRoot],
      ...['--node-name', this.name, '--devices', 'eth0'],
      ...(this.#options.podCidrs ?? POD_CIDRS).flatMap((cidr) => ['--pod-cidr', cidr]),
      ...(this.cgroup === undefined ? [] : ['--cgroup-root', this.cgroup]),
      ...(this.#options.manifests === false ? [] : ['--manifests', this.manifests]),
      ...this.#flags(),
      ...flags,
    ];
    const log = createWriteStream(this.log, { flags: 'a' });
    await new Promise((resolve) => log.once('open', resolve));
    this.#agent = start(argv, { stdio: ['ignore', log, log] });
    log.close();
    const agent = this.#agent;
    this.#drops?.start();
    await waitFor(
      `the agent of ${this.name}`,
      async () => {
        if (agent.exitCode !== null || agent.signalCode !== null) throw new AgentEnded(this.logTail());
        const fault = statusFault(await this.#api.health(true));
        // A policy that does not fit is a warning, but the agent is at work.
        if (fault !== undefined && !/policy does not fit/.test(fault)) throw new Error(fault);
        return true;
      },
      timeoutMs,
      STATUS_EVERY_MS,
    );
  }

  #flags(): readonly string[] {
    const { flags = [] } = this.#options;
    return typeof flags === 'function' ? flags(this) : flags;
  }

  /** Ends the agent; SIGKILL plays a crash. */
  async stopAgent(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    if (this.#agent === undefined) return;
    await this.#drops?.settle();
    await stop(this.#agent, signal);
    this.#agent = undefined;
  }

  /** Runs the `weir` CLI against this node's agent. */
  async weir(...words: string[]): Promise<Output> {
    return await runAsync([path.join(dist, 'weir'), '--socket', this.socket, ...words]);
  }

  /** Takes away all that the agent put into the node; returns what it complained of. */
  async uninstall(): Promise<string[]> {
    await this.#drops?.settle();
    const { stderr, status } = await runAsync([
      ...this.ns.enter,
      path.join(dist, 'weir-agent'),
      ...['--uninstall', '--socket', this.socket, '--state-dir', path.join(this.dir, 'state')],
      ...['--bpf-root', this.bpfRoot],
    ]);
    return status === 0 ? [] : [`uninstall: exit ${status} ${stderr.trim()}`];
  }

  /** Last lines of the agent's log. */
  logTail(lines = 30): string {
    return existsSync(this.log) ? readFileSync(this.log, 'utf8').trimEnd().split('\n').slice(-lines).join('\n') : '';
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#drops?.close();
    await this.stopAgent('SIGKILL');
    this.ns[Symbol.dispose]();
    if (this.#options.network === undefined) this.world[Symbol.dispose]();
    rmSync(this.bpfRoot, { recursive: true, force: true });
    if (this.cgroup !== undefined) removeCgroup(this.cgroup);
    rmSync(this.dir, { recursive: true, force: true });
  }

  /** What an agent that is gone, and a node that is cleaned, must not leave behind: links in the node, pins. */
  leftovers(): string[] {
    const links = run(['ip', '-n', this.ns.name, '-br', 'link'])
      .split('\n')
      .map((line) => line.split(/[\s@]/)[0]!)
      .filter((name) => name.startsWith('wr'));
    const pins = tryRun(['find', this.bpfRoot, '-type', 'f']).stdout.split('\n').filter(Boolean);
    return [...links, ...pins];
  }
}

/** The agent ended by itself while it was expected to run. */
export class AgentEnded extends Error {
  constructor(log: string) {
    super(`the agent ended; its log:\n${log}`);
  }
}
