/**
 * CNI ADD and DEL, 50 one after another and 20 at once, against Debian's ptp with host-local: each plugin run as a runtime
 * runs it, in a node of its own. The bare start of the executables (VERSION) and the agent's share of an ADD (the same
 * request without the executable) are listed apart.
 *
 * ptp gives each pod IPv4 only; with IPv6 it would wait for duplicate address detection. Weir gives both.
 */
import { spawn } from 'node:child_process';
import path from 'node:path';
import { ApiClient } from '../../agent/api/client.ts';
import { Netns } from '../harness/netns.ts';
import { dist, WeirNode } from '../harness/node.ts';
import { median, ratios, type Bench } from './suite.ts';

const SEQUENTIAL = 50;
const PARALLEL = 20;
const PARALLEL_ROUNDS = 3;
const DEBIAN_PLUGINS = '/usr/lib/cni';

type Command = 'ADD' | 'DEL' | 'VERSION';

/** A plugin with its configuration, in the network namespace of its node. */
interface Plugin {
  readonly name: string;
  readonly executable: string;
  readonly node: Netns;
  readonly config: object;
}

export const bench: Bench = {
  name: 'cni',
  title: `CNI ADD and DEL against ptp + host-local, ${SEQUENTIAL} sequential and ${PARALLEL} parallel`,
  async run(print) {
    await using stack = new AsyncDisposableStack();
    const node = stack.use(new WeirNode({ name: 'cni', podCidrs: ['10.244.0.0/24', 'fd00:10:244::/64'] }));
    await node.startAgent();
    const weir = weirPlugin(node);
    const ptp = ptpPlugin(node.dir, stack.use(new Netns('ptp')));
    const pods = Array.from({ length: SEQUENTIAL }, (_, i) => stack.use(new Netns(`p${i}`)));

    const starts = await interleaved([weir, ptp], Array<Netns>(20).fill(pods[0]!), 'VERSION');
    print(row('bare start (VERSION)', starts));
    await sequential([weir, ptp], pods, print);
    await parallel([weir, ptp], pods.slice(0, PARALLEL), print);
    const shares = await agentShare(new ApiClient(node.socket), pods);
    print(`${"agent's share of an ADD".padEnd(26)} weir ${figure(shares)}`);
  },
};

function weirPlugin(node: WeirNode): Plugin {
  const config = { cniVersion: '1.0.0', name: 'weir', type: 'weir-cni', socket: node.socket };
  return { name: 'weir', executable: path.join(dist, 'weir-cni'), node: node.ns, config };
}

function ptpPlugin(folder: string, node: Netns): Plugin {
  const ipam = { type: 'host-local', subnet: '10.78.0.0/16', dataDir: path.join(folder, 'host-local') };
  const config = { cniVersion: '1.0.0', name: 'ptp', type: 'ptp', ipam };
  return { name: 'ptp', executable: path.join(DEBIAN_PLUGINS, 'ptp'), node, config };
}

async function sequential(plugins: Pair, pods: readonly Netns[], print: (line: string) => void): Promise<void> {
  // The first pod of a node pays for caches that fill once.
  await interleaved(plugins, pods.slice(0, 2), 'ADD');
  await interleaved(plugins, pods.slice(0, 2), 'DEL');
  for (const command of ['ADD', 'DEL'] as const) {
    print(row(`${command}, ${SEQUENTIAL} sequential`, await interleaved(plugins, pods, command)));
  }
}

async function parallel(plugins: Pair, pods: readonly Netns[], print: (line: string) => void): Promise<void> {
  const totals = { ADD: [[], []], DEL: [[], []] } as Record<'ADD' | 'DEL', [number[], number[]]>;
  for (let round = 0; round < PARALLEL_ROUNDS; round++) {
    for (const command of ['ADD', 'DEL'] as const) {
      for (const [i, plugin] of plugins.entries()) {
        const started = performance.now();
        await Promise.all(pods.map((pod) => runPlugin(plugin, command, pod)));
        totals[command][i]!.push(performance.now() - started);
      }
    }
  }
  for (const command of ['ADD', 'DEL'] as const) print(row(`${command}, ${PARALLEL} at once, in all`, totals[command]));
}

type Pair = readonly [Plugin, Plugin];

/** Milliseconds of each run, for each plugin; which goes first alternates, so that a drift falls on both. */
async function interleaved(plugins: Pair, pods: readonly Netns[], command: Command): Promise<[number[], number[]]> {
  const times: [number[], number[]] = [[], []];
  for (const [i, pod] of pods.entries()) {
    for (const which of i % 2 === 0 ? ([0, 1] as const) : ([1, 0] as const)) {
      times[which].push(await runPlugin(plugins[which], command, pod));
    }
  }
  return times;
}

/** Milliseconds that one run took. */
async function runPlugin({ executable, node, config, name }: Plugin, command: Command, pod: Netns): Promise<number> {
  const [entry, ...words] = [...node.enter, executable];
  const started = performance.now();
  const child = spawn(entry, words, {
    env: {
      PATH: process.env['PATH'],
      CNI_COMMAND: command,
      CNI_CONTAINERID: `${pod.name}-${name}`,
      CNI_NETNS: pod.path,
      // Both plugins join the same namespaces, each with an interface of its own.
      CNI_IFNAME: `${name}0`,
      CNI_PATH: DEBIAN_PLUGINS,
    },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let stdout = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  // A plugin may end without having read all of it.
  child.stdin.on('error', () => undefined).end(JSON.stringify(config));
  const status = await new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve));
  if (status !== 0) throw new Error(`${name} ${command}: exit ${String(status)} ${stdout}`);
  return performance.now() - started;
}

/** Milliseconds of the request that an ADD makes, sent by this process. */
async function agentShare(agent: ApiClient, pods: readonly Netns[]): Promise<number[]> {
  const times: number[] = [];
  for (const pod of pods) {
    const id = `cni-attachment-id:${pod.name}:share0`;
    const request = {
      'container-id': pod.name,
      'container-interface-name': 'share0',
      'network-namespace-path': pod.path,
      'sync-build-endpoint': true,
    };
    const started = performance.now();
    await agent.putEndpoint(id, request);
    times.push(performance.now() - started);
    await agent.deleteEndpoint(id);
  }
  return times;
}

function row(what: string, [weir, ptp]: readonly [readonly number[], readonly number[]]): string {
  return `${what.padEnd(26)} weir ${figure(weir)}  ptp ${figure(ptp)}  weir/ptp ${ratios(weir, ptp)}`;
}

/** Median and 95th percentile in milliseconds. */
function figure(times: readonly number[]): string {
  const p95 = times.toSorted((a, b) => a - b)[Math.floor((times.length - 1) * 0.95)]!;
  return `${median(times).toFixed(1).padStart(7)} ms (p95 ${p95.toFixed(1)})`;
}
