/** weir-dns-proxy: the DNS proxy as a process of its own, which goes on while the agent is away. */
import { mkdirSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { errorText } from '../agent/model/errors.ts';
import { VERSION } from '../agent/model/version.ts';
import { socketChannel } from './channel.ts';
import type { AgentMessage, ProxyMessage } from './contract.ts';
import { PinnedIpcache } from './kernel-ipcache.ts';
import { DnsServer } from './server.ts';
import { DEFAULT_SETTINGS } from './worker-settings.ts';

const HELP = `usage: weir-dns-proxy [flags]

Answers the DNS queries that policies divert, with the rules and names that it was last told, also while the agent is away.
Start weir-agent with the same --dns-proxy-socket.

  --dns-proxy-socket PATH     where the agent is listened for (default: /run/weir/dns-proxy.sock)
  --bpf-root DIR              where BPF maps are pinned (default: /sys/fs/bpf/weir)
  --tofqdns-proxy-port PORT   port of the listeners on loopback (default: 10053; another when it is taken)
  --help, --version
`;

const EXIT = { ok: 0, failed: 1, usage: 2 } as const;

interface Flags {
  readonly socket: string;
  readonly bpfRoot: string;
  readonly port: number;
}

async function main(): Promise<number> {
  let flags: Flags | string;
  try {
    flags = readFlags(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`weir-dns-proxy: ${errorText(error)}\n`);
    return EXIT.usage;
  }
  if (typeof flags === 'string') {
    process.stdout.write(flags);
    return EXIT.ok;
  }
  const stopped = signalled();
  // Whoever may speak to the proxy decides what pods may ask and what addresses are.
  process.umask(0o077);
  try {
    await serve(flags, stopped);
    return EXIT.ok;
  } catch (error) {
    process.stderr.write(`weir-dns-proxy: ${errorText(error)}\n`);
    return EXIT.failed;
  }
}

function readFlags(argv: readonly string[]): Flags | string {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      'dns-proxy-socket': { type: 'string', default: '/run/weir/dns-proxy.sock' },
      'bpf-root': { type: 'string', default: '/sys/fs/bpf/weir' },
      'tofqdns-proxy-port': { type: 'string', default: '10053' },
      help: { type: 'boolean', short: 'h' },
      version: { type: 'boolean' },
    },
  });
  if (values.help === true) return HELP;
  if (values.version === true) return `weir-dns-proxy ${VERSION}\n`;
  const port = Number(values['tofqdns-proxy-port']);
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new Error(`--tofqdns-proxy-port: ${values['tofqdns-proxy-port']} is no port`);
  }
  return { socket: values['dns-proxy-socket'], bpfRoot: values['bpf-root'], port };
}

async function serve({ socket, bpfRoot, port }: Flags, stopped: Promise<unknown>): Promise<void> {
  const ipcache = await pinned(bpfRoot, stopped);
  if (ipcache === undefined) return;
  using server = await DnsServer.start({
    ...{ settings: DEFAULT_SETTINGS, port, identities: ipcache },
    write: (address, identity) => ipcache.write(address, identity),
    onError: (message, error) => process.stderr.write(`weir-dns-proxy: ${message}: ${errorText(error)}\n`),
  });
  const listener = await listenForAgent(socket, server);
  process.stderr.write(`weir-dns-proxy: port ${server.port}, waiting for the agent at ${socket}\n`);
  await stopped;
  listener.close();
  rmSync(socket, { force: true });
}

/** The agent makes the maps: before its first start there are none. Undefined when it is time to end first. */
async function pinned(bpfRoot: string, stopped: Promise<unknown>): Promise<PinnedIpcache | undefined> {
  let ended = false;
  void stopped.then(() => (ended = true));
  const isEnded = (): boolean => ended;
  for (let complained = false; !isEnded(); complained = true) {
    try {
      return new PinnedIpcache(bpfRoot);
    } catch (error) {
      if (!complained) process.stderr.write(`weir-dns-proxy: waiting for the agent: ${errorText(error)}\n`);
      await Promise.race([sleep(200), stopped]);
    }
  }
  return undefined;
}

async function listenForAgent(file: string, proxy: DnsServer): Promise<Server> {
  mkdirSync(path.dirname(file), { recursive: true, mode: 0o755 });
  rmSync(file, { force: true });
  const server = createServer((socket) => proxy.attach(socketChannel<ProxyMessage, AgentMessage>(socket)));
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(file, resolve);
  });
  return server;
}

function signalled(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve(signal));
  });
}

process.exitCode = await main();
// Whatever still holds the event loop has no say any more.
process.exit();
