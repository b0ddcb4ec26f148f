import type { ChildProcess } from 'node:child_process';
import { createWriteStream, existsSync } from 'node:fs';
import path from 'node:path';
import { start, stop } from './exec.ts';
import { dist, type WeirNode } from './node.ts';
import { waitFor } from './wait.ts';

/** `weir-dns-proxy` of a node whose agent was told of its socket: see {@link dnsProxyFlags}. */
export class DnsProxyProcess implements AsyncDisposable {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  /** Starts it and waits until the agent can find it; before the agent's first start it waits for the maps by itself. */
  static async start(node: WeirNode): Promise<DnsProxyProcess> {
    const log = createWriteStream(path.join(node.dir, 'dns-proxy.log'), { flags: 'a' });
    await new Promise((resolve) => log.once('open', resolve));
    const argv = [path.join(dist, 'weir-dns-proxy'), ...dnsProxyFlags(node), '--bpf-root', node.bpfRoot];
    const child = start([...node.ns.enter, ...argv], { stdio: ['ignore', log, log] });
    log.close();
    const proxy = new DnsProxyProcess(child);
    if (node.agentPid !== undefined) await waitFor('the proxy to listen', () => existsSync(socketOf(node)));
    return proxy;
  }

  get pid(): number {
    return this.#child.pid!;
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await stop(this.#child, signal);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop('SIGKILL');
  }
}

function socketOf(node: WeirNode): string {
  return path.join(node.dir, 'dns-proxy.sock');
}

/** What the agent and the proxy must both be told. */
export function dnsProxyFlags(node: WeirNode): readonly string[] {
  return ['--dns-proxy-socket', socketOf(node)];
}
