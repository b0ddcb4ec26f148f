/** A path between two network namespaces, and what is measured on it: throughput of a stream, latency of an exchange. */
import { run, start, stop } from '../harness/exec.ts';
import type { Netns } from '../harness/netns.ts';
import { waitFor } from '../harness/wait.ts';
import { median, ratios } from './suite.ts';

const SECONDS = 1;
/** Each end keeps to a processor of its own: where the scheduler puts them would otherwise decide most of the latency. */
const onProcessor = (number: 0 | 1): readonly string[] => ['taskset', '-c', String(number)];

/** Two ends of a path: what is measured between them is all that differs. */
export interface Path {
  readonly name: string;
  readonly client: Netns;
  readonly server: Netns;
  readonly address: string;
}

/** Policy for the pods `client` and `server`: the one may speak to the other, and nobody else to anybody. */
export const POLICY = `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata:
  name: both
  namespace: default
spec:
  endpointSelector: {}
  ingress:
    - fromEndpoints:
        - matchLabels:
            app: client
  egress:
    - toEndpoints:
        - matchLabels:
            app: server
`;

const MEASURES = [
  ['TCP stream', 'Gbit/s', tcpStream],
  ['TCP request/response p50', 'us', (path: Path) => pingPong(path, true).p50],
  ['UDP request/response p50', 'us', (path: Path) => pingPong(path, false).p50],
  ['TCP request/response p99', 'us', (path: Path) => pingPong(path, true).p99],
] as const;

/**
 * Measures paths in interleaved rounds and prints each with its ratio to its baseline.
 *
 * @param pairs a baseline and what is compared with it
 */
export async function compare(
  pairs: readonly (readonly [baseline: Path, path: Path])[],
  rounds: number,
  print: (line: string) => void,
): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const paths = [...new Set(pairs.flat())];
  for (const { server } of paths) await serve(stack, server);
  for (const [what, unit, measure] of MEASURES) {
    const figures = new Map(paths.map((path): [Path, number[]] => [path, []]));
    for (let round = 0; round < rounds; round++) {
      // The order alternates, so that a drift of the machine falls on all.
      for (const path of round % 2 === 0 ? paths : paths.toReversed()) figures.get(path)!.push(measure(path));
    }
    for (const [baseline, path] of pairs) {
      const [base, own] = [figures.get(baseline)!, figures.get(path)!];
      print(
        `${what.padEnd(26)} ${baseline.name} ${median(base).toFixed(1).padStart(9)} ${unit}  ${path.name} ${median(own).toFixed(1).padStart(9)} ${unit}  ${path.name}/${baseline.name} ${ratios(own, base)}`,
      );
    }
  }
}

async function serve(stack: AsyncDisposableStack, ns: Netns): Promise<void> {
  const servers = [
    ['iperf3', '-s', '-p', '5201'],
    ['sockperf', 'server', '--tcp', '-p', '5301'],
    ['sockperf', 'server', '-p', '5302'],
  ];
  for (const argv of servers) {
    const child = start([...ns.enter, ...onProcessor(1), ...argv], { stdio: 'ignore' });
    stack.defer(() => stop(child, 'SIGKILL'));
  }
  await waitFor('the servers', () => {
    const open = run([...ns.enter, 'ss', '-Hlntu']);
    return ['5201', '5301', '5302'].every((port) => open.includes(`:${port}`));
  });
}

/** Gbit/s of one stream. */
function tcpStream({ client, address }: Path): number {
  const text = run([
    ...client.enter,
    ...onProcessor(0),
    'iperf3',
    '-c',
    address,
    '-p',
    '5201',
    '-t',
    String(SECONDS),
    '-J',
  ]);
  const report = JSON.parse(text) as { end: { sum_received: { bits_per_second: number } } };
  return report.end.sum_received.bits_per_second / 1e9;
}

/** One-way latency (half a round trip), in microseconds. */
function pingPong({ client, address }: Path, tcp: boolean): { p50: number; p99: number } {
  const how = tcp ? ['--tcp', '-p', '5301'] : ['-p', '5302'];
  const text = run([
    ...client.enter,
    ...onProcessor(0),
    'sockperf',
    'ping-pong',
    '-i',
    address,
    ...how,
    '-t',
    String(SECONDS),
    '--msg-size',
    '64',
  ]);
  return { p50: percentile(text, '50.000'), p99: percentile(text, '99.000') };
}

function percentile(text: string, which: string): number {
  const match = new RegExp(`percentile ${which.replace('.', '\\.')} =\\s*([\\d.]+)`).exec(text);
  if (match === null) throw new Error(`sockperf printed no percentile ${which}:\n${text}`);
  return Number(match[1]);
}
