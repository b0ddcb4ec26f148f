/**
 * Pod to pod on one node, against two namespaces joined by plain veth pairs and routing, in interleaved rounds: TCP
 * stream (iperf3), request/response over TCP and UDP (sockperf ping-pong). Weir enforces a policy on both pods.
 */
import { run, start, stop } from '../harness/exec.ts';
import { Netns, connect } from '../harness/netns.ts';
import { WeirNode } from '../harness/node.ts';
import { Pod, podManifest } from '../harness/pod.ts';
import { waitFor } from '../harness/wait.ts';
import { median, ratios, type Bench } from './suite.ts';

const ROUNDS = 15;
const SECONDS = 1;
/** Each end keeps to a processor of its own: where the scheduler puts them would otherwise decide most of the latency. */
const onProcessor = (number: 0 | 1): readonly string[] => ['taskset', '-c', String(number)];

/** Two ends of a path: what is measured between them is all that differs. */
interface Path {
  readonly name: string;
  readonly client: Netns;
  readonly server: Netns;
  readonly address: string;
}

const POLICY = `
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

export const bench: Bench = {
  name: 'pod-to-pod',
  title: 'one node, policy enforced, against plain veth + routing',
  async run(print) {
    await using stack = new AsyncDisposableStack();
    const paths = [plainPath(stack), await weirPath(stack)] as const;
    for (const { server } of paths) await serve(stack, server);
    for (const [what, unit, measure] of MEASURES) {
      const figures = paths.map((): number[] => []);
      for (let round = 0; round < ROUNDS; round++) {
        // The order alternates, so that a drift of the machine falls on both.
        const order = round % 2 === 0 ? [0, 1] : [1, 0];
        for (const i of order) figures[i]!.push(measure(paths[i]!));
      }
      const [plain, weir] = figures as [number[], number[]];
      print(
        `${what.padEnd(30)} plain ${median(plain).toFixed(1).padStart(9)} ${unit}  weir ${median(weir).toFixed(1).padStart(9)} ${unit}  weir/plain ${ratios(weir, plain)}`,
      );
    }
  },
};

const MEASURES = [
  ['TCP stream', 'Gbit/s', tcpStream],
  ['TCP request/response p50', 'us', (path: Path) => pingPong(path, true).p50],
  ['UDP request/response p50', 'us', (path: Path) => pingPong(path, false).p50],
  ['TCP request/response p99', 'us', (path: Path) => pingPong(path, true).p99],
] as const;

function plainPath(stack: AsyncDisposableStack): Path {
  const [router, client, server] = [new Netns('router'), new Netns('plain-client'), new Netns('plain-server')];
  for (const ns of [router, client, server]) stack.use(ns);
  connect(
    { ns: router, name: 'c', addresses: ['10.200.1.1/24'] },
    { ns: client, name: 'eth0', addresses: ['10.200.1.2/24'] },
  );
  connect(
    { ns: router, name: 's', addresses: ['10.200.2.1/24'] },
    { ns: server, name: 'eth0', addresses: ['10.200.2.2/24'] },
  );
  client.ip('route add default via 10.200.1.1');
  server.ip('route add default via 10.200.2.1');
  router.sysctl({ 'ipv4/ip_forward': 1 });
  return { name: 'plain', client, server, address: '10.200.2.2' };
}

async function weirPath(stack: AsyncDisposableStack): Promise<Path> {
  const node = stack.use(new WeirNode({ name: 'bench' }));
  for (const name of ['client', 'server']) node.manifest(`${name}.yaml`, podManifest(name, { app: name }));
  node.manifest('policy.yaml', POLICY);
  await node.startAgent();
  const server = stack.use(await Pod.create(node, 'server'));
  const client = stack.use(await Pod.create(node, 'client'));
  return { name: 'weir', client: client.ns, server: server.ns, address: server.ipv4 };
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
