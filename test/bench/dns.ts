/**
 * A pod's queries through the DNS proxy, against the same queries sent directly and against dnsmasq as a forwarder on the
 * node: the most that come through, CPU time of the forwarder for each, and latency at a fixed rate. All in one run, in turns.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { DnsProxyProcess, dnsProxyFlags } from '../harness/dns-proxy.ts';
import { DnsServerProcess } from '../harness/dns-server.ts';
import { runAsync, start, stop, tryRun } from '../harness/exec.ts';
import type { Netns } from '../harness/netns.ts';
import { NODE_ADDRESSES, WeirNode, WORLD_ADDRESSES } from '../harness/node.ts';
import { Pod, podManifest } from '../harness/pod.ts';
import { uniqueName } from '../harness/run.ts';
import { waitFor } from '../harness/wait.ts';
import { median, ratios, type Bench } from './suite.ts';

const ROUNDS = 5;
const SECONDS = 2;
const NAMES = 1000;
const ZONE = 'example.com.';
const RATES = [200, 5_000, 10_000] as const;

/** A way from a pod to the server, and who works on it. */
interface Way {
  readonly name: string;
  readonly ns: Netns;
  readonly address: string;
  /** Of the forwarder; undefined when there is none. */
  readonly pid: number | undefined;
}

interface Figures {
  readonly queriesPerSecond: number;
  /** Microseconds of the forwarder's processor time for each query; 0 without one. */
  readonly cpu: number;
  readonly p50: number;
  readonly p99: number;
  readonly lost: number;
}

export const bench: Bench = {
  name: 'dns',
  title: `UDP queries of a pod: direct, through the proxy (${NAMES} names, each learned), through dnsmasq`,
  async run(print) {
    await using stack = new AsyncDisposableStack();
    const dir = mkdtempSync(path.join(tmpdir(), `${uniqueName('bench-dns')}-`));
    stack.defer(() => rmSync(dir, { recursive: true }));
    const queries = path.join(dir, 'queries');
    writeFileSync(queries, Array.from({ length: NAMES }, (_, i) => `n${i + 1}.${ZONE} A\n`).join(''));
    const ways = await prepare(stack);
    for (const way of ways) {
      if (way.pid !== undefined) await flood(way, queries, ['-l', '1', '-q', '50']);
    }
    await compare(print, ways, 'as many as come through', (way) => flood(way, queries, ['-q', '100']));
    for (const rate of RATES) {
      await compare(print, ways, `${rate} a second`, (way) => flood(way, queries, ['-Q', String(rate)]));
    }
  },
};

async function compare(
  print: (line: string) => void,
  ways: readonly Way[],
  what: string,
  measure: (way: Way) => Promise<Figures>,
): Promise<void> {
  const all = new Map<Way, Figures[]>(ways.map((way) => [way, []]));
  for (let round = 0; round < ROUNDS; round++) {
    // The order alternates, so that a drift of the machine falls on all.
    for (const way of round % 2 === 0 ? ways : ways.toReversed()) all.get(way)!.push(await measure(way));
  }
  print(what);
  const base = all.get(ways[0]!)!.map(({ queriesPerSecond }) => queriesPerSecond);
  for (const [way, figures] of all) {
    const of = (key: keyof Figures): number => median(figures.map((figure) => figure[key]));
    const rate = figures.map(({ queriesPerSecond }) => queriesPerSecond);
    print(
      `  ${way.name.padEnd(10)} ${of('queriesPerSecond').toFixed(0).padStart(7)} queries/s  ${ratios(rate, base)} of direct` +
        `  CPU ${of('cpu').toFixed(1).padStart(6)} us/query  p50 ${of('p50').toFixed(0).padStart(6)} us  p99 ${of('p99').toFixed(0).padStart(6)} us` +
        `  lost ${figures.reduce((sum, { lost }) => sum + lost, 0)}`,
    );
  }
}

async function prepare(stack: AsyncDisposableStack): Promise<readonly Way[]> {
  const node = stack.use(new WeirNode({ name: 'bench-dns', flags: dnsProxyFlags }));
  for (const name of ['proxied', 'direct']) node.manifest(`${name}.yaml`, podManifest(name, { app: name }));
  node.manifest('policy.yaml', POLICY);
  const records = Array.from({ length: NAMES }, (_, i) => `n${i + 1}.${ZONE} 300 A 198.18.${i >> 8}.${i & 0xff}`);
  const addresses = [WORLD_ADDRESSES.v4];
  stack.use(await DnsServerProcess.start(node.world, { kind: 'unbound', zone: ZONE, records, addresses }));
  await node.startAgent();
  const proxy = stack.use(await DnsProxyProcess.start(node));
  const [proxied, direct] = [stack.use(await Pod.create(node, 'proxied')), stack.use(await Pod.create(node, 'direct'))];
  const forwarder = start(
    [
      ...[...node.ns.enter, 'dnsmasq', '--keep-in-foreground', '--conf-file=/dev/null', '--no-resolv', '--no-hosts'],
      ...['--user=root', '--pid-file=', '--cache-size=0', '--dns-forward-max=10000', '--bind-interfaces'],
      ...[`--listen-address=${NODE_ADDRESSES.v4}`, `--server=${WORLD_ADDRESSES.v4}`],
    ],
    { stdio: 'ignore' },
  );
  stack.defer(() => stop(forwarder, 'SIGKILL'));
  const ways: readonly Way[] = [
    { name: 'direct', ns: direct.ns, address: WORLD_ADDRESSES.v4, pid: undefined },
    { name: 'weir', ns: proxied.ns, address: WORLD_ADDRESSES.v4, pid: proxy.pid },
    { name: 'dnsmasq', ns: direct.ns, address: NODE_ADDRESSES.v4, pid: forwarder.pid },
  ];
  for (const { name, ns, address } of ways) {
    const dig = [...ns.enter, 'dig', `@${address}`, '+short', '+time=1', '+tries=1', `n1.${ZONE}`];
    await waitFor(`answers ${name}`, () => tryRun(dig).stdout.startsWith('198.18.'), 20_000);
  }
  return ways;
}

const POLICY = `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: proxied, namespace: default }
spec:
  endpointSelector: { matchLabels: { app: proxied } }
  egress:
    - toCIDR: [${WORLD_ADDRESSES.v4}/32]
      toPorts:
        - ports: [{ port: "53", protocol: UDP }]
          rules: { dns: [{ matchPattern: "*.example.com" }] }
    - toFQDNs: [{ matchPattern: "*.example.com" }]
`;

/** Runs dnsperf for a while and looks at what the forwarder spent meanwhile. */
async function flood({ ns, address, pid }: Way, queries: string, words: readonly string[]): Promise<Figures> {
  const before = cpuTime(pid);
  const how = ['-s', address, '-d', queries, '-l', String(SECONDS), '-v', ...words];
  const { stdout, stderr } = await runAsync([...ns.enter, 'dnsperf', ...how]);
  const cpu = cpuTime(pid) - before;
  const completed = Number(/Queries completed:\s+(\d+)/.exec(stdout)?.[1]);
  if (!(completed > 0)) throw new Error(`dnsperf: ${stderr}\n${stdout.slice(-2000)}`);
  const latencies = [...stdout.matchAll(/^> \S+ \S+ \S+ ([\d.]+)$/gm)].map(([, seconds]) => Number(seconds) * 1e6);
  latencies.sort((a, b) => a - b);
  const at = (share: number): number =>
    latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))]!;
  return {
    queriesPerSecond: Number(/Queries per second:\s+([\d.]+)/.exec(stdout)?.[1]),
    cpu: cpu / completed,
    p50: at(0.5),
    p99: at(0.99),
    lost: Number(/Queries lost:\s+(\d+)/.exec(stdout)?.[1]),
  };
}

/** Microseconds that all threads of a process have run. */
function cpuTime(pid: number | undefined): number {
  if (pid === undefined) return 0;
  return readdirSync(`/proc/${pid}/task`)
    .map((task) => Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]))
    .reduce((sum, ns) => sum + ns / 1000, 0);
}
