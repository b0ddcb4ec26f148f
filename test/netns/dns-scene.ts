/** A node without an agent, its DNS proxy, and the test in the agent's place: it says rules and hears answers. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { ChildProcess } from 'node:child_process';
import { openProcessProxy } from '../../dns-proxy/agent-link.ts';
import type {
  DnsProxy,
  LearnedAnswer,
  LearnTimes,
  ProxyCounters,
  ProxyListener,
  ProxySettings,
  QueryRecord,
} from '../../dns-proxy/contract.ts';
import type { PeerNames } from '../../dns-proxy/rules/query-policy.ts';
import { DEFAULT_SETTINGS } from '../../dns-proxy/worker-settings.ts';
import { WiredNode, type WiredPod } from '../datapath/wired-node.ts';
import { runAsync, start, stop } from '../harness/exec.ts';
import { dist } from '../harness/node.ts';
import { uniqueName } from '../harness/run.ts';
import { waitFor } from '../harness/wait.ts';

/** The agent's side: what it was told. */
export class AgentRole implements ProxyListener {
  readonly answers: LearnedAnswer[] = [];
  readonly records: QueryRecord[] = [];
  port = 0;
  backlog: readonly LearnedAnswer[] = [];
  losses = 0;
  counts: ProxyCounters | undefined;
  /** What learning does. */
  learning: (answer: LearnedAnswer) => Promise<LearnTimes> | undefined = () => undefined;

  connected(port: number, backlog: readonly LearnedAnswer[]): void {
    this.port = port;
    this.backlog = backlog;
  }

  lost(): void {
    this.losses++;
  }

  learned(answer: LearnedAnswer): Promise<LearnTimes> | undefined {
    this.answers.push(answer);
    return this.learning(answer);
  }

  queries(records: readonly QueryRecord[]): void {
    this.records.push(...records);
  }

  counters(counters: ProxyCounters): void {
    this.counts = counters;
  }
}

export class DnsScene implements AsyncDisposable {
  readonly stack = new AsyncDisposableStack();
  readonly wired: WiredNode;
  agent = new AgentRole();
  proxy!: DnsProxy;
  /** For files of the test. */
  readonly dir: string;
  readonly #socket: string;
  #child: ChildProcess | undefined;

  private constructor(wired: WiredNode) {
    this.wired = this.stack.use(wired);
    this.dir = mkdtempSync(path.join(tmpdir(), `${uniqueName('dns')}-`));
    this.stack.defer(() => rmSync(this.dir, { recursive: true }));
    this.#socket = path.join(this.dir, 'proxy.sock');
    for (const family of ['-4', '-6']) {
      wired.host.ip(`${family} route add local default dev lo table 2204`);
      wired.host.ip(`${family} rule add priority 9 fwmark 0x200/0xf00 table 2204`);
    }
  }

  static async start(settings: Partial<ProxySettings> = {}): Promise<DnsScene> {
    const scene = new DnsScene(await WiredNode.start());
    try {
      scene.startProxy();
      await scene.meet(settings);
      return scene;
    } catch (error) {
      await scene[Symbol.asyncDispose]();
      throw error;
    }
  }

  startProxy(): void {
    const { host, node } = this.wired;
    const words = ['--dns-proxy-socket', this.#socket, '--bpf-root', node.bpfRoot];
    const child = start([...host.enter, path.join(dist, 'weir-dns-proxy'), ...words], { stdio: 'ignore' });
    this.#child = child;
    this.stack.defer(() => stop(child));
  }

  /** Ends the process. */
  async stopProxy(): Promise<void> {
    if (this.#child !== undefined) await stop(this.#child, 'SIGKILL');
  }

  /** An agent meets the proxy; the one before is left. */
  async meet(settings: Partial<ProxySettings> = {}): Promise<void> {
    const agent = new AgentRole();
    this.agent = agent;
    const link = { settings: { ...DEFAULT_SETTINGS, ...settings }, onError: () => undefined };
    this.proxy = this.stack.use(await openProcessProxy({ ...link, path: this.#socket }, agent));
    await waitFor('the proxy', () => agent.port !== 0);
  }

  /** Tells the proxy the rules of a pod, and has the datapath divert its queries. */
  divert(pod: WiredPod, rules: readonly Omit<PeerNames, 'protocol' | 'endPort'>[]): void {
    const { id, identity, ipv4, ipv6 } = pod;
    const both = rules.flatMap((rule) => [17, 6].map((protocol) => ({ ...rule, protocol, endPort: 0 })));
    this.proxy.change({ endpoints: [{ endpoint: id, identity, addresses: [ipv4, ipv6], rules: both }] });
    for (const port of new Set(rules.map((rule) => rule.port))) {
      for (const protocol of [17, 6]) {
        this.wired.change(pod, 'allow', { direction: 'egress', protocol, port, proxyPort: this.agent.port });
      }
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stack.disposeAsync();
  }
}

/** What `dig` prints when it asks `server` in the pod's place. */
export async function dig(pod: WiredPod, server: string, ...words: string[]): Promise<string> {
  return (await runAsync([...pod.ns.enter, 'dig', `@${server}`, '+time=20', '+tries=1', ...words])).stdout;
}
